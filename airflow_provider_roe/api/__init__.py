"""Roe's API with no I/O: a request is data, and an answer is read by one function a call."""
