// Requests to the server of this page. All addresses are relative, so the token before them is kept.

export class Refused extends Error {
  constructor(status, answer) {
    super([answer.error ?? answer.detail ?? `the server answered ${status}`, answer.remedy].filter(Boolean).join(": "));
    this.status = status;
    this.answer = answer;
  }
}

async function ask(path, options) {
  const reply = await fetch(`api/${path}`, options); // rejects when the server is gone
  const answer = await reply.json().catch(() => ({}));
  if (!reply.ok) throw new Refused(reply.status, answer);
  return answer;
}

// a `signal` that aborts makes them reject
export const get = (path, signal) => ask(path, { signal });

export const post = (path, body, options = {}) =>
  ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), ...options });

export async function image(index, signal) {
  const reply = await fetch(`api/pictures/${index}/view.jpg`, { signal });
  if (!reply.ok) throw new Refused(reply.status, await reply.json().catch(() => ({})));
  return createImageBitmap(await reply.blob());
}
