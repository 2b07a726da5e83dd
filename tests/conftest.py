"""Flags that Ray reads when the first test module imports it: on loopback, without reports to anybody."""

from serve_app.start import prepare_environment

prepare_environment()
