# imltool to scan with, without PyTorch: docker build -t imltool . (docs/install.md)
FROM python:3.12-slim AS build
WORKDIR /src
COPY requirements/scan.txt requirements/scan.txt
RUN python -m venv /opt/imltool && /opt/imltool/bin/pip install --no-cache-dir -r requirements/scan.txt
COPY pyproject.toml README.md LICENSE ./
COPY imltool imltool
RUN /opt/imltool/bin/pip install --no-cache-dir --no-deps .

FROM python:3.12-slim
COPY --from=build /opt/imltool /opt/imltool
# OpenVINO and OpenCV look for these; Pango prints reports as PDF
RUN apt-get update && apt-get install -y --no-install-recommends libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 \
    && rm -rf /var/lib/apt/lists/* \
    && /opt/imltool/bin/pip install --no-cache-dir 'weasyprint>=68.1' \
    && useradd --create-home examiner
USER examiner
WORKDIR /home/examiner
ENTRYPOINT ["/opt/imltool/bin/imltool"]
CMD ["--help"]
