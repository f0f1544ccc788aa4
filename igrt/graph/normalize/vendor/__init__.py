"""Fused operators of onnxruntime's own domains, written in standard ones before differentiation.

onnxruntime's optimiser and its conversion tools write them into saved models. `table` says what is
lowered and what is refused, `lower` does it, and each other file holds one family.
"""
