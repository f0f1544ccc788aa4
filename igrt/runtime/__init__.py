"""Runs models: sessions, providers, the chunk plan and the streaming loop. Never imports onnx."""
