"""The commands of `fashion-tagger`, one module a group; thin: parse, call, print."""
