"""Declarations of the operators that are locally constant in all their inputs.

What carries values without changing them (sequences, optionals) and control flow is not here.
"""

from igrt.vjp.registry import zero

# steps: the derivative is zero wherever it exists
zero("Ceil")
zero("Floor")
zero("Hardmax")
zero("Round")
zero("Sign")

# comparisons and tests of numbers
zero("Equal")
zero("Greater")
zero("GreaterOrEqual")
zero("IsInf")
zero("IsNaN")
zero("Less")
zero("LessOrEqual")

# positions, sizes and choices
zero("ArgMax")
zero("ArgMin")
zero("NonMaxSuppression")
zero("NonZero")
zero("OptionalHasElement")
zero("SequenceLength")
zero("Shape")
zero("Size")

# logic and whole numbers
zero("And")
zero("BitShift")
zero("BitwiseAnd")
zero("BitwiseNot")
zero("BitwiseOr")
zero("BitwiseXor")
zero("Not")
zero("Or")
zero("Xor")

# arithmetic on whole numbers that no lowering took for what it stands for
zero("BitCast")
zero("ConvInteger")
zero("MatMulInteger")
zero("QLinearConv")
zero("QLinearMatMul")

# constants and what is made from sizes
zero("BlackmanWindow")
zero("Constant")
zero("ConstantOfShape")
zero("EyeLike")
zero("HammingWindow")
zero("HannWindow")
zero("MelWeightMatrix")

# random numbers
zero("Bernoulli")
zero("Multinomial")
zero("RandomNormal")
zero("RandomNormalLike")
zero("RandomUniform")
zero("RandomUniformLike")

# text and pictures
zero("ImageDecoder")
zero("RegexFullMatch")
zero("StringConcat")
zero("StringNormalizer")
zero("StringSplit")
zero("TfIdfVectorizer")

# classical models: trees and codes are steps
zero("Binarizer", domain="ai.onnx.ml")
zero("CategoryMapper", domain="ai.onnx.ml")
zero("LabelEncoder", domain="ai.onnx.ml")
zero("OneHotEncoder", domain="ai.onnx.ml")
zero("TreeEnsemble", domain="ai.onnx.ml")
zero("TreeEnsembleClassifier", domain="ai.onnx.ml")
zero("TreeEnsembleRegressor", domain="ai.onnx.ml")
