//! Writes a model of ONNX as it is put together: its weights go to the file one by one and are never all in memory.
//!
//! A message of protobuf may be told in parts, which a reader merges (Protocol Buffers, "Last One Wins"): so each tensor is
//! a part of the graph by itself, and the nodes are the last part.

use super::onnx::{
    AttributeProto, DataType, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    ValueInfoProto,
};
use prost::{
    Message as _,
    encoding::{encode_varint, encoded_len_varint},
};
use std::io::{self, Write};

/// The operators of ONNX Runtime's own.
pub(super) const MICROSOFT: &str = "com.microsoft";

/// Of the standard: the first with `LayerNormalization`.
const OPSET: i64 = 17;
const IR_VERSION: i64 = 9;

/// Keys of fields whose value has a length (Protocol Buffers, "Encoding"): field number and wire type 2.
const GRAPH_OF_MODEL: u8 = 7 << 3 | 2;
const INITIALIZER_OF_GRAPH: u8 = 5 << 3 | 2;
const RAW_DATA_OF_TENSOR: u8 = 9 << 3 | 2;

/// A graph that is being written.
pub(super) struct Graph<W> {
    file: W,
    nodes: Vec<NodeProto>,
}

impl<W: Write> Graph<W> {
    pub(super) const fn new(file: W) -> Self {
        Self { file, nodes: Vec::new() }
    }

    /// Writes a tensor; `fill` writes its values, of which it has `bytes`.
    pub(super) fn tensor_with(
        &mut self,
        name: &str,
        data_type: DataType,
        dims: &[usize],
        bytes: usize,
        fill: impl FnOnce(&mut Counted<'_, W>) -> io::Result<()>,
    ) -> io::Result<String> {
        let dims = dims.iter().map(|dim| i64::try_from(*dim)).collect::<Result<_, _>>();
        let head = TensorProto {
            dims: dims.map_err(io::Error::other)?,
            data_type: data_type as i32,
            name: name.into(),
            raw_data: Vec::new(),
        };
        let head = head.encode_to_vec();
        let tensor = head.len() + 1 + encoded_len_varint(bytes as u64) + bytes;
        let graph = 1 + encoded_len_varint(tensor as u64) + tensor;
        let mut prefix = vec![GRAPH_OF_MODEL];
        encode_varint(graph as u64, &mut prefix);
        prefix.push(INITIALIZER_OF_GRAPH);
        encode_varint(tensor as u64, &mut prefix);
        prefix.extend(head);
        prefix.push(RAW_DATA_OF_TENSOR);
        encode_varint(bytes as u64, &mut prefix);
        self.file.write_all(&prefix)?;
        let mut counted = Counted { file: &mut self.file, left: bytes };
        fill(&mut counted)?;
        if counted.left == 0 { Ok(name.into()) } else { Err(io::Error::other("a tensor of another size")) }
    }

    pub(super) fn floats(&mut self, name: &str, dims: &[usize], values: &[f32]) -> io::Result<String> {
        self.tensor_with(name, DataType::Float, dims, values.len() * 4, |file| {
            values.iter().try_for_each(|value| file.write_all(&value.to_le_bytes()))
        })
    }

    pub(super) fn integers(&mut self, name: &str, dims: &[usize], values: &[i64]) -> io::Result<String> {
        self.tensor_with(name, DataType::Int64, dims, values.len() * 8, |file| {
            values.iter().try_for_each(|value| file.write_all(&value.to_le_bytes()))
        })
    }

    /// Adds a node with these outputs.
    pub(super) fn node(
        &mut self,
        domain: &str,
        op_type: &str,
        input: &[&str],
        output: Vec<String>,
        attribute: Vec<AttributeProto>,
    ) {
        self.nodes.push(NodeProto {
            input: input.iter().map(|name| (*name).to_owned()).collect(),
            output,
            name: format!("{op_type}_{}", self.nodes.len()),
            op_type: op_type.into(),
            attribute,
            domain: domain.into(),
        });
    }

    /// The same with one output, whose name is returned.
    pub(super) fn op(
        &mut self,
        domain: &str,
        op_type: &str,
        input: &[&str],
        attribute: Vec<AttributeProto>,
    ) -> String {
        let output = format!("{op_type}_{}.out", self.nodes.len());
        self.node(domain, op_type, input, vec![output.clone()], attribute);
        output
    }

    /// Writes the rest.
    pub(super) fn finish(mut self, input: Vec<ValueInfoProto>, output: Vec<ValueInfoProto>) -> io::Result<W> {
        let opset = |domain: &str, version| OperatorSetIdProto { domain: domain.into(), version };
        let model = ModelProto {
            ir_version: IR_VERSION,
            producer_name: "skynet".into(),
            graph: Some(GraphProto {
                node: self.nodes,
                name: "encoder".into(),
                initializer: Vec::new(),
                input,
                output,
            }),
            opset_import: vec![opset("", OPSET), opset(MICROSOFT, 1)],
        };
        self.file.write_all(&model.encode_to_vec())?;
        Ok(self.file)
    }
}

/// Takes exactly as many bytes as were announced.
pub(super) struct Counted<'a, W> {
    file: &'a mut W,
    left: usize,
}

impl<W: Write> Counted<'_, W> {
    pub(super) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.left = self
            .left
            .checked_sub(bytes.len())
            .ok_or_else(|| io::Error::other("a tensor has more values than its shape"))?;
        self.file.write_all(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_graph_are_read_as_one() {
        let mut graph = Graph::new(Vec::new());
        let long: Vec<f32> = (0_u8..200).map(f32::from).collect();
        graph.floats("long", &[2, 100], &long).unwrap();
        graph.integers("short", &[], &[-1]).unwrap();
        let sum = graph.op("", "Add", &["long", "x"], vec![AttributeProto::int("axis", -1)]);
        graph.node(MICROSOFT, "Gelu", &[&sum], vec!["y".into()], Vec::new());
        let output = ValueInfoProto::new("y", DataType::Float, []);
        let written = graph.finish(Vec::new(), vec![output]).unwrap();
        let model = ModelProto::decode(written.as_slice()).unwrap();
        let graph = model.graph.unwrap();
        let tensors: Vec<_> = graph
            .initializer
            .iter()
            .map(|tensor| (tensor.name.as_str(), tensor.dims.clone(), tensor.raw_data.len()))
            .collect();
        assert_eq!(tensors, [("long", vec![2, 100], 800), ("short", vec![], 8)]);
        assert_eq!(graph.initializer[0].raw_data[4..8], 1.0_f32.to_le_bytes());
        let nodes: Vec<_> = graph.node.iter().map(|node| (node.op_type.as_str(), &node.input[0])).collect();
        assert_eq!(nodes, [("Add", &"long".to_owned()), ("Gelu", &sum)]);
        assert_eq!((model.ir_version, model.opset_import.len(), graph.output.len()), (9, 2, 1));
    }

    #[test]
    fn a_tensor_of_another_size_is_refused() {
        let mut graph = Graph::new(Vec::new());
        assert!(graph.tensor_with("few", DataType::Int8, &[2], 2, |file| file.write_all(&[1])).is_err());
        assert!(graph.tensor_with("many", DataType::Int8, &[1], 1, |file| file.write_all(&[1, 2])).is_err());
    }
}
