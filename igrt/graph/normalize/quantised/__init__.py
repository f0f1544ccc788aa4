"""Quantised models: whole-number arithmetic as what it stands for.

Every operator on whole numbers becomes DequantizeLinear, the operator on floats, QuantizeLinear.
The values agree within one step of the quantisation, and two operators need a gradient rule only.
`dequantise` then takes the rounding out.
"""
