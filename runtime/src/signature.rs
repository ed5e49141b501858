//! What a graph takes and gives, told by names, types and shapes: exporters agree on no names.

use std::fmt;

use ort::value::{Outlet, TensorElementType, ValueType};

/// An input or output as its graph declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// -1 where a dimension may vary; empty where the graph does not tell.
    pub(crate) shape: Vec<i64>,
    /// What the dimensions that may vary are called; empty names for the others.
    pub(crate) symbols: Vec<String>,
}

/// What a tensor holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// f32 or f16, which are converted.
    Float(&'static str),
    /// i64 or i32, which are converted.
    Integer(&'static str),
    /// What we neither give nor take.
    Other(String),
}

/// The inputs of a graph by what they are for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Inputs {
    /// `[B, 3, H, W]`
    pub(crate) pixels: Option<Port>,
    /// `[B, L]`
    pub(crate) input_ids: Option<Port>,
    /// `[B, L]`: 1 for a real token.
    pub(crate) attention_mask: Option<Port>,
    /// `[B, L]`: 0, as for the first of two texts.
    pub(crate) token_types: Option<Port>,
}

/// One side of a dual encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Image,
    Text,
}

/// The state before the projection, in public exports of towers alone; of a SigLIP, the embedding.
const POOLED: &str = "pooler_output";

impl Port {
    pub(crate) fn of(outlet: &Outlet) -> Self {
        let (shape, symbols) = match outlet.dtype() {
            ValueType::Tensor { shape, dimension_symbols, .. } => (
                shape.iter().copied().collect(),
                dimension_symbols.iter().map(ToString::to_string).collect(),
            ),
            _ => (Vec::new(), Vec::new()),
        };
        let kind = match outlet.dtype().tensor_type() {
            Some(TensorElementType::Float32) => Kind::Float("f32"),
            Some(TensorElementType::Float16) => Kind::Float("f16"),
            Some(TensorElementType::Int64) => Kind::Integer("i64"),
            Some(TensorElementType::Int32) => Kind::Integer("i32"),
            _ => Kind::Other(outlet.dtype().to_string()),
        };
        Self { name: outlet.name().to_owned(), kind, shape, symbols }
    }

    /// A dimension that is always the same.
    pub(crate) fn fixed(&self, dimension: usize) -> Option<usize> {
        self.shape.get(dimension).and_then(|&size| usize::try_from(size).ok())
    }

    /// Whether the graph calls the first dimensions of both by different names.
    pub(crate) fn batches_apart_from(&self, other: &Self) -> bool {
        match (self.symbols.first(), other.symbols.first()) {
            (Some(a), Some(b)) => !a.is_empty() && !b.is_empty() && a != b,
            _ => false,
        }
    }

    /// Whether it has this rank, or does not tell its rank.
    fn may_have_rank(&self, rank: usize) -> bool {
        self.shape.is_empty() || self.shape.len() == rank
    }

    fn named(&self, part: &str) -> bool {
        self.name.to_lowercase().contains(part)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            Kind::Float(kind) | Kind::Integer(kind) => kind,
            Kind::Other(kind) => return write!(f, "{} {kind}", self.name),
        };
        let dimension = |(at, size): (usize, &i64)| match self.symbols.get(at) {
            Some(symbol) if *size < 0 && !symbol.is_empty() => symbol.clone(),
            _ if *size < 0 => "?".to_owned(),
            _ => size.to_string(),
        };
        let shape: Vec<String> = self.shape.iter().enumerate().map(dimension).collect();
        write!(f, "{} {kind} [{}]", self.name, shape.join(", "))
    }
}

impl Inputs {
    /// Sorts the inputs of a graph: numbers with a fraction in four dimensions are pixels, whole
    /// numbers in two are token ids, unless their name says that they are a mask or token types.
    ///
    /// # Errors
    /// In words, what was found that we cannot give or tell apart.
    pub(crate) fn of(ports: Vec<Port>) -> Result<Self, String> {
        let mut inputs = Self::default();
        for port in ports {
            let (place, what) = match &port.kind {
                Kind::Float(_) if port.may_have_rank(4) => (&mut inputs.pixels, "pixels"),
                Kind::Integer(_) if port.may_have_rank(2) && port.named("mask") => {
                    (&mut inputs.attention_mask, "attention mask")
                }
                Kind::Integer(_) if port.may_have_rank(2) && port.named("type") => {
                    (&mut inputs.token_types, "token types")
                }
                Kind::Integer(_) if port.may_have_rank(2) => (&mut inputs.input_ids, "token ids"),
                _ => return Err(format!("it takes {port}, which we cannot give")),
            };
            if let Some(other) = place {
                return Err(format!("it takes {other} and {port}: which of them are the {what}?"));
            }
            *place = Some(port);
        }
        Ok(inputs)
    }
}

impl fmt::Display for Inputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [&self.input_ids, &self.attention_mask, &self.token_types, &self.pixels];
        f.write_str(&listed(all.into_iter().flatten()))
    }
}

impl Side {
    /// What the projected output is called, by us and in public folders.
    fn usual(self) -> [&'static str; 3] {
        match self {
            Self::Image => ["image_embeds", "image_embeddings", "embedding"],
            Self::Text => ["text_embeds", "text_embeddings", "embedding"],
        }
    }

    /// Words in the names of outputs that belong to this side.
    fn words(self) -> &'static [&'static str] {
        match self {
            Self::Image => &["image", "vision", "visual"],
            Self::Text => &["text"],
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Image => Self::Text,
            Self::Text => Self::Image,
        }
    }

    fn owns(self, port: &Port) -> bool {
        self.words().iter().any(|word| port.named(word))
    }

    /// The output that holds this side's embeddings, `[batch, dim]`: by its name, else the only one
    /// of that shape. `pooled` says whether the model has no projection behind its pooled state.
    ///
    /// # Errors
    /// In words, what was found instead.
    pub(crate) fn output(
        self,
        outputs: &[Port],
        dim: Option<usize>,
        pooled: bool,
    ) -> Result<Port, String> {
        let fits = |port: &Port| match port.shape.as_slice() {
            [] => true,
            [_, last] => *last < 0 || dim.is_none_or(|dim| usize::try_from(*last) == Ok(dim)),
            _ => false,
        };
        let wanted = dim.map_or_else(|| "dim".to_owned(), |dim| dim.to_string());
        let called = |name: &str| outputs.iter().find(|port| port.name == name);
        if let Some(port) = self.usual().into_iter().find_map(called) {
            return if fits(port) {
                Ok(port.clone())
            } else {
                Err(format!("its output is {port}, but its configuration says [batch, {wanted}]"))
            };
        }
        if let (true, Some(port)) = (pooled, called(POOLED).filter(|port| fits(port))) {
            return Ok(port.clone());
        }
        let candidates = self.candidates(outputs.iter().filter(|port| fits(port)));
        match (candidates.as_slice(), called(POOLED)) {
            ([port], _) => Ok((*port).clone()),
            ([], Some(port)) => Err(format!(
                "its output {port} is the state before the projection, which compares with \
                 nothing; export the tower with its projection, as {}",
                self.usual()[0]
            )),
            _ => Err(format!(
                "it gives {}, but no {} of the shape [batch, {wanted}] that could be told from \
                 the rest",
                listed(outputs),
                self.usual()[0]
            )),
        }
    }

    /// Outputs that could be this side's embeddings: those named after it, or those not named after
    /// the other. What is normalized already stands a second time beside it (jina-clip).
    fn candidates<'a>(self, fitting: impl Iterator<Item = &'a Port>) -> Vec<&'a Port> {
        let numbers = |port: &&Port| matches!(port.kind, Kind::Float(_)) && port.shape.len() == 2;
        let others = |port: &&Port| self.other().owns(port) && !self.owns(port);
        let mut found: Vec<&Port> = fitting
            .filter(numbers)
            .filter(|port| !port.named(POOLED) && !port.named("logits") && !others(port))
            .collect();
        let narrow = |found: &mut Vec<&Port>, better: &dyn Fn(&Port) -> bool| {
            if found.len() > 1 && found.iter().any(|port| better(port)) {
                found.retain(|port| better(port));
            }
        };
        narrow(&mut found, &|port| self.owns(port));
        narrow(&mut found, &|port| !port.named("norm"));
        found
    }
}

/// Ports in a row, for a message.
pub(crate) fn listed<'a>(ports: impl IntoIterator<Item = &'a Port>) -> String {
    let ports: Vec<String> = ports.into_iter().map(ToString::to_string).collect();
    if ports.is_empty() { "nothing".to_owned() } else { ports.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `"ids i64 batch 77"`
    fn port(text: &str) -> Port {
        let mut words = text.split(' ');
        let name = words.next().unwrap().to_owned();
        let kind = match words.next().unwrap() {
            "f32" => Kind::Float("f32"),
            "f16" => Kind::Float("f16"),
            "i64" => Kind::Integer("i64"),
            "i32" => Kind::Integer("i32"),
            other => Kind::Other(other.to_owned()),
        };
        let dimensions: Vec<&str> = words.collect();
        let shape = dimensions.iter().map(|word| word.parse().unwrap_or(-1)).collect();
        let symbol = |word: &&str| if word.parse::<i64>().is_ok() { "" } else { *word }.to_owned();
        Port { name, kind, shape, symbols: dimensions.iter().map(symbol).collect() }
    }

    fn ports(texts: &[&str]) -> Vec<Port> {
        texts.iter().map(|text| port(text)).collect()
    }

    #[test]
    fn inputs_are_told_by_type_and_shape() {
        let joint = ports(&["input f16 b 3 32 32", "x i32 b 77", "attention_mask i64 b 77"]);
        let inputs = Inputs::of(joint).unwrap();
        let name = |port: Option<Port>| port.unwrap().name;
        assert_eq!(name(inputs.pixels), "input");
        assert_eq!(name(inputs.input_ids), "x");
        assert_eq!(name(inputs.attention_mask), "attention_mask");
        assert_eq!(inputs.token_types, None);
    }

    #[test]
    fn what_cannot_be_told_is_refused_with_what_was_found() {
        for (found, reason) in [
            (&["a i64 b l", "c i64 b l"] as &[&str], "a i64 [b, l] and c i64 [b, l]"),
            (&["patches f32 b n d"], "patches f32 [b, n, d], which we cannot give"),
            (&["mask bool b l"], "mask bool"),
        ] {
            let error = Inputs::of(ports(found)).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }

    fn output(
        side: Side,
        found: &[&str],
        dim: Option<usize>,
        pooled: bool,
    ) -> Result<String, String> {
        side.output(&ports(found), dim, pooled).map(|port| port.name)
    }

    #[test]
    fn outputs_are_told_by_name_then_by_shape() {
        let clip = ["logits_per_image f32 b t", "text_embeds f32 t 8", "image_embeds f32 b 8"];
        assert_eq!(output(Side::Image, &clip, Some(8), false).unwrap(), "image_embeds");
        let jina = [
            "l2norm_text_x f32 b 8",
            "text_x f32 b 8",
            "image_x f32 b 8",
            "l2norm_image_x f32 b 8",
        ];
        assert_eq!(output(Side::Text, &jina, None, false).unwrap(), "text_x");
        assert_eq!(output(Side::Image, &jina, None, false).unwrap(), "image_x");
        let unnamed = ["1702 f32 b 8", "hidden f32 b 7 8"];
        assert_eq!(output(Side::Text, &unnamed, None, false).unwrap(), "1702");
        let siglip = ["last_hidden_state f32 b n 8", "pooler_output f32 b 8"];
        assert_eq!(output(Side::Image, &siglip, None, true).unwrap(), "pooler_output");
        let error = output(Side::Image, &siglip, None, false).unwrap_err();
        assert!(error.contains("before the projection"), "{error}");
        let two = output(Side::Text, &["a f32 b 8", "c f32 b 8"], Some(8), false).unwrap_err();
        assert!(two.contains("a f32 [b, 8], c f32 [b, 8]"), "{two}");
        let other = output(Side::Text, &["text_embeds f32 b 9"], Some(8), false).unwrap_err();
        assert!(
            other.contains("text_embeds f32 [b, 9]") && other.contains("[batch, 8]"),
            "{other}"
        );
    }

    #[test]
    fn batches_of_other_names_are_apart() {
        let (text, image) = (port("t i64 text_batch l"), port("i f32 image_batch 3 8 8"));
        assert!(text.batches_apart_from(&image));
        assert!(!text.batches_apart_from(&port("i f32 text_batch 3 8 8")));
        assert!(!text.batches_apart_from(&port("i f32 1 3 8 8")));
    }
}
