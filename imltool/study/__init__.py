"""Studies: training runs that each differ in one setting, measured in the same way and compared picture by picture."""
