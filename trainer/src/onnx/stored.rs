//! Reading back the weights of a graph that this program wrote.

use std::collections::BTreeMap;

use prost::Message;

use super::ElementType;
use super::proto::{ModelProto, TensorProto};

/// A weight as it lies in a graph, widened to f32.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// Shape in the graph.
    pub dims: Vec<usize>,
    /// Elements in row-major order of `dims`.
    pub data: Vec<f32>,
}

/// What the label of a weight's scales ends with.
const SCALE: &str = ".scale";

/// The weights of a graph by their labels; bytes are multiplied with their scales.
///
/// # Errors
/// What of the file cannot be read, in words.
pub fn stored(file: &[u8]) -> Result<BTreeMap<String, Stored>, String> {
    let model = ModelProto::decode(file).map_err(|error| error.to_string())?;
    let graph = model.graph.ok_or("it holds no graph")?;
    let mut all = BTreeMap::new();
    for tensor in graph.initializer.iter().filter(|one| one.data_type != ElementType::I64 as i32) {
        all.insert(label(&tensor.name).to_owned(), widened(tensor)?);
    }
    let scaled: Vec<String> =
        all.keys().filter_map(|name| name.strip_suffix(SCALE)).map(str::to_owned).collect();
    for name in scaled {
        let Some(scales) = all.remove(&format!("{name}{SCALE}")) else { continue };
        let weight = all.get_mut(&name).ok_or(format!("there are scales of `{name}` alone"))?;
        multiply(weight, &scales).ok_or(format!("the scales of `{name}` do not fit it"))?;
    }
    Ok(all)
}

/// A value's name without the number that the builder puts behind it.
fn label(name: &str) -> &str {
    match name.rsplit_once('_') {
        Some((label, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => label,
        _ => name,
    }
}

fn widened(tensor: &TensorProto) -> Result<Stored, String> {
    let name = &tensor.name;
    let dims: Option<Vec<usize>> =
        tensor.dims.iter().map(|&dim| usize::try_from(dim).ok()).collect();
    let dims = dims.ok_or_else(|| format!("`{name}` has a negative dimension"))?;
    let bytes = &tensor.raw_data;
    let data: Vec<f32> = if tensor.data_type == ElementType::F32 as i32 {
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    } else if tensor.data_type == ElementType::F16 as i32 {
        bytes.chunks_exact(2).map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32()).collect()
    } else if tensor.data_type == ElementType::I8 as i32 {
        bytes.iter().map(|byte| f32::from(byte.cast_signed())).collect()
    } else {
        return Err(format!("`{name}` holds numbers of a kind that is never written here"));
    };
    if dims.iter().product::<usize>() != data.len() {
        return Err(format!("`{name}` does not hold as many numbers as its shape says"));
    }
    Ok(Stored { dims, data })
}

/// Multiplies each channel of a weight with its scale: the scales are a row as long as the last dimension,
/// or have the weight's own dimensions, all but one of them 1. `None` where they are neither.
fn multiply(weight: &mut Stored, scales: &Stored) -> Option<()> {
    let axis = match scales.dims[..] {
        [_] => weight.dims.len().checked_sub(1)?,
        _ => scales.dims.iter().position(|&dim| dim > 1).unwrap_or(0),
    };
    let channels = *weight.dims.get(axis)?;
    if channels != scales.data.len() {
        return None;
    }
    let inner: usize = weight.dims[axis + 1..].iter().product();
    for (index, value) in weight.data.iter_mut().enumerate() {
        *value *= scales.data[(index / inner) % channels];
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::{GraphBuilder, Matrix, WeightStorage};
    use super::*;

    /// What comes back of a weight `[rows, columns]` that was multiplied in a form.
    fn again(storage: WeightStorage, dims: [usize; 2], data: &[f32]) -> Stored {
        let mut graph = GraphBuilder::new("g");
        let x = graph.f32s("x", &[1, dims[0]], &vec![1.0; dims[0]]);
        let matrix = Matrix { dims: &dims, channel_axis: 1, data };
        storage.multiply(&mut graph, "layer_0.weight", &x, matrix);
        stored(&graph.finish()).unwrap().remove("layer_0.weight").unwrap()
    }

    #[test]
    fn weights_come_back_as_exactly_as_their_form_holds_them() {
        let dims = [80, 60];
        let data: Vec<f32> =
            (0..dims[0] * dims[1]).map(|i| ((i * 37) % 1001) as f32 - 500.0).collect();
        for (storage, step) in [
            (WeightStorage::F32, 0.0),
            (WeightStorage::F16, 0.13),
            (WeightStorage::Half, 0.13),
            (WeightStorage::Int8, 2.0),
            (WeightStorage::Int8Dynamic, 2.0),
        ] {
            let found = again(storage, dims, &data);
            assert_eq!(found.dims, dims, "{storage:?}");
            let worst =
                found.data.iter().zip(&data).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst <= step, "{storage:?}: {worst}");
        }
    }

    #[test]
    fn a_table_has_a_scale_for_each_row() {
        let mut graph = GraphBuilder::new("g");
        let ids = graph.i64s("ids", &[1], &[0]);
        let data: Vec<f32> = (0..64 * 64).map(|i| if i < 64 { 127.0 } else { 1270.0 }).collect();
        let table = Matrix { dims: &[64, 64], channel_axis: 0, data: &data };
        WeightStorage::Int8.add_lookup(&mut graph, "words.weight", table, &ids);
        let mut all = stored(&graph.finish()).unwrap();
        assert_eq!(all.remove("words.weight").unwrap().data, data);
    }

    #[test]
    fn what_is_no_graph_is_refused_in_words() {
        assert!(stored(b"no graph at all").is_err());
        assert_eq!(stored(b"").unwrap_err(), "it holds no graph");
    }
}
