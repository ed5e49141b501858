//! A graph under construction.

use prost::Message;

use super::proto::{
    AttributeProto, DimensionProto, DimensionValue, GraphProto, ModelProto, NodeProto,
    OperatorSetIdProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use super::{ElementType, IR_VERSION, OPSET};

/// A value of the graph, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wire(String);

/// A setting of a node.
#[derive(Debug, Clone, PartialEq)]
pub enum Attribute {
    /// An integer.
    Int(i64),
    /// A number.
    Float(f32),
    /// A list of integers.
    Ints(Vec<i64>),
    /// Text.
    Text(&'static str),
}

/// One dimension of an input or output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dimension {
    /// Always this size.
    Fixed(usize),
    /// Any size; the same name means the same size.
    Named(&'static str),
}

/// Collects nodes and constants in the order in which they are asked for.
#[derive(Debug, Default)]
pub struct GraphBuilder {
    graph: GraphProto,
    values: usize,
}

impl GraphBuilder {
    /// An empty graph.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { graph: GraphProto { name: name.to_owned(), ..GraphProto::default() }, values: 0 }
    }

    /// Declares what a caller feeds.
    pub fn input(&mut self, name: &str, element: ElementType, shape: &[Dimension]) -> Wire {
        self.graph.input.push(value_info(name, element, shape));
        Wire(name.to_owned())
    }

    /// Declares `value` to be what a caller gets, under `name`.
    pub fn output(&mut self, value: &Wire, name: &str, element: ElementType, shape: &[Dimension]) {
        self.graph.node.push(NodeProto {
            input: vec![value.0.clone()],
            output: vec![name.to_owned()],
            name: format!("Identity_{name}"),
            op_type: "Identity".to_owned(),
            attribute: Vec::new(),
        });
        self.graph.output.push(value_info(name, element, shape));
    }

    /// Adds an operation with one output.
    pub fn node(
        &mut self,
        op_type: &str,
        inputs: &[&Wire],
        attributes: &[(&str, Attribute)],
    ) -> Wire {
        let name = self.fresh(op_type);
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|wire| wire.0.clone()).collect(),
            output: vec![name.clone()],
            name: name.clone(),
            op_type: op_type.to_owned(),
            attribute: attributes.iter().map(|(key, value)| attribute(key, value)).collect(),
        });
        Wire(name)
    }

    /// Adds an operation without attributes that has `N` outputs; the same over the same inputs is
    /// there once.
    pub fn shared_nodes<const N: usize>(&mut self, op_type: &str, inputs: &[&Wire]) -> [Wire; N] {
        let inputs: Vec<String> = inputs.iter().map(|wire| wire.0.clone()).collect();
        let same = |node: &&NodeProto| {
            node.op_type == op_type && node.input == inputs && node.output.len() == N
        };
        if let Some(node) = self.graph.node.iter().find(same) {
            return std::array::from_fn(|index| Wire(node.output[index].clone()));
        }
        let output: [String; N] = std::array::from_fn(|_| self.fresh(op_type));
        self.graph.node.push(NodeProto {
            input: inputs,
            output: output.to_vec(),
            name: output.concat(),
            op_type: op_type.to_owned(),
            attribute: Vec::new(),
        });
        output.map(Wire)
    }

    /// Adds a constant of f32. `label` stays visible in its name.
    pub fn f32s(&mut self, label: &str, dims: &[usize], data: &[f32]) -> Wire {
        let bytes = data.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(label, ElementType::F32, dims, bytes)
    }

    /// Adds a constant of f16, rounded to nearest.
    pub fn f16s(&mut self, label: &str, dims: &[usize], data: &[f32]) -> Wire {
        let bytes =
            data.iter().flat_map(|value| half::f16::from_f32(*value).to_le_bytes()).collect();
        self.constant(label, ElementType::F16, dims, bytes)
    }

    /// Adds a constant of signed bytes.
    pub fn i8s(&mut self, label: &str, dims: &[usize], data: &[i8]) -> Wire {
        let bytes = data.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(label, ElementType::I8, dims, bytes)
    }

    /// Adds a constant of i64: shapes, axes, indices.
    pub fn i64s(&mut self, label: &str, dims: &[usize], data: &[i64]) -> Wire {
        let bytes = data.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(label, ElementType::I64, dims, bytes)
    }

    /// Adds a scalar constant of f32.
    pub fn scalar(&mut self, label: &str, value: f32) -> Wire {
        self.f32s(label, &[], &[value])
    }

    /// The finished file.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        let opset = OperatorSetIdProto { domain: String::new(), version: OPSET };
        ModelProto {
            ir_version: IR_VERSION,
            producer_name: "clipsight-trainer".to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            graph: Some(self.graph),
            opset_import: vec![opset],
        }
        .encode_to_vec()
    }

    fn constant(
        &mut self,
        label: &str,
        element: ElementType,
        dims: &[usize],
        bytes: Vec<u8>,
    ) -> Wire {
        let name = self.fresh(label);
        self.graph.initializer.push(TensorProto {
            dims: dims.iter().map(|&dim| size(dim)).collect(),
            data_type: element as i32,
            name: name.clone(),
            raw_data: bytes,
        });
        Wire(name)
    }

    fn fresh(&mut self, label: &str) -> String {
        self.values += 1;
        format!("{label}_{}", self.values)
    }
}

fn attribute(key: &str, value: &Attribute) -> AttributeProto {
    let mut proto = AttributeProto { name: key.to_owned(), ..AttributeProto::default() };
    match value {
        Attribute::Float(number) => (proto.f, proto.r#type) = (Some(*number), 1),
        Attribute::Int(number) => (proto.i, proto.r#type) = (Some(*number), 2),
        Attribute::Text(text) => (proto.s, proto.r#type) = (Some(text.as_bytes().to_vec()), 3),
        Attribute::Ints(numbers) => (proto.ints, proto.r#type) = (numbers.clone(), 7),
    }
    proto
}

fn value_info(name: &str, element: ElementType, shape: &[Dimension]) -> ValueInfoProto {
    let dim = shape.iter().map(|dimension| DimensionProto {
        value: Some(match dimension {
            Dimension::Fixed(count) => DimensionValue::Size(size(*count)),
            Dimension::Named(name) => DimensionValue::Name((*name).to_owned()),
        }),
    });
    let tensor = TensorTypeProto {
        elem_type: element as i32,
        shape: Some(TensorShapeProto { dim: dim.collect() }),
    };
    ValueInfoProto { name: name.to_owned(), r#type: Some(TypeProto { tensor_type: Some(tensor) }) }
}

/// A dimension as the format has it; a tensor beyond `i64::MAX` cannot exist in memory.
fn size(dim: usize) -> i64 {
    i64::try_from(dim).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zero_attribute_is_written() {
        let bytes = attribute("axis", &Attribute::Int(0)).encode_to_vec();
        // field 1 "axis", field 3 varint 0, field 20 varint 2
        assert_eq!(bytes, [0x0a, 4, b'a', b'x', b'i', b's', 0x18, 0, 0xa0, 0x01, 2]);
    }

    #[test]
    fn a_shared_node_is_there_once_for_the_same_inputs() {
        let mut graph = GraphBuilder::new("g");
        let [x, y] = ["x", "y"].map(|name| graph.input(name, ElementType::F32, &[]));
        let first: [Wire; 3] = graph.shared_nodes("DynamicQuantizeLinear", &[&x]);
        let again: [Wire; 3] = graph.shared_nodes("DynamicQuantizeLinear", &[&x]);
        let other: [Wire; 3] = graph.shared_nodes("DynamicQuantizeLinear", &[&y]);
        assert_eq!(first, again);
        assert!(first.iter().all(|wire| !other.contains(wire)));
        let model = ModelProto::decode(graph.finish().as_slice()).unwrap();
        assert_eq!(model.graph.unwrap().node.len(), 2);
    }

    #[test]
    fn a_graph_reads_back() {
        let mut graph = GraphBuilder::new("double");
        let shape = [Dimension::Named("batch"), Dimension::Fixed(2)];
        let x = graph.input("x", ElementType::F32, &shape);
        let two = graph.scalar("two", 2.0);
        let y = graph.node("Mul", &[&x, &two], &[]);
        graph.output(&y, "y", ElementType::F32, &shape);
        let model = ModelProto::decode(graph.finish().as_slice()).unwrap();
        let graph = model.graph.unwrap();
        assert_eq!((model.ir_version, model.opset_import[0].version), (8, 17));
        assert_eq!(graph.initializer[0].raw_data, 2f32.to_le_bytes());
        assert_eq!(graph.node[0].input, ["x", "two_1"]);
        assert_eq!(graph.node[1].output, ["y"]);
    }
}
