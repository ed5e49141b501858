//! The trainer of Clipsight: aligns two towers on image-caption pairs, measures them, exports ONNX.
