//! Where a graph really ran: ONNX Runtime's own record of a run, read back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::RuntimeError;

/// The folder that a session writes its record into; gone when dropped.
pub(crate) struct Recording(TempDir);

impl Recording {
    pub(crate) fn new() -> Result<Self, RuntimeError> {
        TempDir::with_prefix("clipsight-").map(Self).map_err(|error| RuntimeError::Profile {
            path: std::env::temp_dir(),
            reason: error.to_string(),
        })
    }

    /// ONNX Runtime appends the time and `.json`.
    pub(crate) fn prefix(&self) -> PathBuf {
        self.0.path().join("run")
    }
}

/// Where the nodes of a graph ran and what the matrix products among them multiplied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placement {
    /// Nodes by execution provider, as ONNX Runtime names it.
    pub nodes: BTreeMap<String, usize>,
    /// Matrix products and convolutions by provider.
    pub products: BTreeMap<String, usize>,
    /// Matrix products and convolutions by what they multiply: `int8`, `fp16` or `fp32`.
    pub arithmetic: BTreeMap<&'static str, usize>,
}

impl Placement {
    /// The provider of most matrix products, without `ExecutionProvider` behind its name.
    #[must_use]
    pub fn provider(&self) -> Option<&str> {
        let tally = if self.products.is_empty() { &self.nodes } else { &self.products };
        let (name, _) = tally.iter().max_by_key(|(_, count)| **count)?;
        Some(name.strip_suffix("ExecutionProvider").unwrap_or(name))
    }

    /// What most matrix products multiply.
    #[must_use]
    pub fn arithmetic(&self) -> Option<&'static str> {
        self.arithmetic.iter().max_by_key(|(_, count)| **count).map(|(name, _)| *name)
    }

    pub(crate) fn read(path: &Path) -> Result<Self, RuntimeError> {
        let failed = |reason: String| RuntimeError::Profile { path: path.to_owned(), reason };
        let text = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
        let events: Vec<Value> =
            serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))?;
        Ok(Self::of(&events))
    }

    fn of(events: &[Value]) -> Self {
        let mut placement = Self::default();
        for event in events.iter().filter(|event| event["cat"] == "Node") {
            let args = &event["args"];
            let Some(provider) = args["provider"].as_str().filter(|name| !name.is_empty()) else {
                continue;
            };
            *placement.nodes.entry(provider.to_owned()).or_default() += 1;
            let operator = args["op_name"].as_str().unwrap_or_default();
            if multiplies(operator) {
                *placement.products.entry(provider.to_owned()).or_default() += 1;
                *placement.arithmetic.entry(multiplied(operator, args)).or_default() += 1;
            }
        }
        placement
    }
}

/// `MatMul`, `FusedMatMul`, `MatMulIntegerToFloat`, `FusedGemm`, `QLinearConv`, `Attention`, …
fn multiplies(operator: &str) -> bool {
    ["MatMul", "Gemm", "Conv", "Attention"].iter().any(|part| operator.contains(part))
}

/// By the types of a node's inputs: one that takes bytes multiplies bytes. Weights that were packed
/// when the session was made are not among them, so what is named after bytes multiplies bytes too.
fn multiplied(operator: &str, args: &Value) -> &'static str {
    let inputs = args["input_type_shape"].as_array().map(Vec::as_slice).unwrap_or_default();
    let takes = |name: &str| inputs.iter().any(|input| input.get(name).is_some());
    let named =
        ["Integer", "DynamicQuantize", "QLinear"].iter().any(|part| operator.contains(part));
    if named || takes("int8") || takes("uint8") {
        "int8"
    } else if takes("float16") {
        "fp16"
    } else {
        "fp32"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_tell_provider_and_arithmetic() {
        let node = |operator: &str, provider: &str, kind: &str| {
            serde_json::json!({"cat": "Node", "args": {"op_name": operator, "provider": provider,
                "input_type_shape": [{kind: [1, 2]}, {"float": [2]}]}})
        };
        let events = [
            node("MatMulIntegerToFloat", "CUDAExecutionProvider", "int8"),
            node("DynamicQuantizeMatMul", "CUDAExecutionProvider", "float"),
            node("MatMul", "CUDAExecutionProvider", "float"),
            node("Gelu", "CPUExecutionProvider", "float"),
            node("Add", "CPUExecutionProvider", "float"),
            serde_json::json!({"cat": "Session", "args": {"provider": "CPUExecutionProvider"}}),
        ];
        let placement = Placement::of(&events);
        assert_eq!(placement.nodes.get("CPUExecutionProvider"), Some(&2));
        assert_eq!((placement.provider(), placement.arithmetic()), (Some("CUDA"), Some("int8")));
    }
}
