//! A search: terms → query vector → nearest vectors → pictures.

use std::sync::Arc;
use std::time::Instant;

use clip::Embedding;
use clip::embedding::EmbeddingError;
use serde::Serialize;

use super::calibrate::Comparison;
use super::{Collection, Fault, Images, Query, SearchError, What};
use crate::catalog::PictureId;
use crate::embed::EmbedError;

/// The pictures nearest to a query.
#[derive(Debug, Clone, Serialize)]
pub struct Answer {
    /// Best first; equal scores in the order of their ids.
    pub hits: Vec<Hit>,
    /// Pictures that were searched.
    pub total_indexed: usize,
    /// Time from the query to the answer, in milliseconds.
    pub took_ms: f64,
    /// How the nearest vectors were found: "exact" compared every one, "hnsw" was led by a graph.
    pub path_taken: &'static str,
    /// Whether the model's context cut off the end of a text.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

/// One picture of an answer.
#[derive(Debug, Clone, Serialize)]
pub struct Hit {
    /// The picture.
    pub id: PictureId,
    /// Its first place, absolute; an upload's file name.
    pub path: String,
    /// Cosine similarity to the query vector.
    pub score: f32,
    /// Whether the picture shows what was asked for, from 0 to 1: from [`super::GOOD`] on rather than not.
    /// None for queries that are not of words alone.
    pub calibrated: Option<f32>,
    /// Upright width in pixels.
    pub width: u32,
    /// Upright height in pixels.
    pub height: u32,
    /// Where its small copy is, relative to the server.
    pub thumbnail: String,
}

/// What the terms come to.
struct Meaning {
    vector: Embedding,
    /// Pictures that are terms: never hits.
    named: Vec<PictureId>,
    truncated: bool,
}

/// Answers a query; `images` holds the pictures that its terms name.
///
/// # Errors
/// [`SearchError::Request`] with a pointer for a fault of the query, [`SearchError::NoSuchPicture`],
/// [`SearchError::Picture`], [`SearchError::Overloaded`], and what the rooms below say.
pub async fn find(
    collection: &Collection,
    query: &Query,
    images: &Images,
) -> Result<Answer, SearchError> {
    let start = Instant::now();
    query.check().map_err(|(pointer, fault)| SearchError::at(pointer, fault))?;
    let Meaning { vector, named, truncated } = meaning(collection, query, images).await?;
    let wanted = query.offset + query.limit + named.len();
    let background = match is_of_words(query) {
        true => Some(collection.background().await?),
        false => None,
    };
    let nearest = collection.nearest(vector, wanted, background).await?;
    let page: Vec<(PictureId, f32)> = (nearest.pictures.into_iter())
        .filter(|(id, score)| !named.contains(id) && query.min_score.is_none_or(|m| *score >= m))
        .skip(query.offset)
        .take(query.limit)
        .collect();
    let hits = hits(collection, &page, nearest.comparison).await?;
    let took_ms = (start.elapsed().as_secs_f64() * 1e4).round() / 10.0;
    let (total_indexed, path_taken) = (nearest.total, nearest.path_taken.name());
    Ok(Answer { hits, total_indexed, took_ms, path_taken, truncated })
}

/// Whether the query is made of words alone, some of which lead to pictures: the background is of words,
/// and pictures are nearer to each other than to any words.
fn is_of_words(query: &Query) -> bool {
    query.terms.iter().all(|term| matches!(term.what, What::Text(_)))
        && query.terms.iter().any(|term| term.weight > 0.0)
}

/// The normalized weighted sum of the terms' embeddings.
async fn meaning(
    collection: &Collection,
    query: &Query,
    images: &Images,
) -> Result<Meaning, SearchError> {
    let mut parts = Vec::with_capacity(query.terms.len());
    let (mut named, mut truncated) = (Vec::new(), false);
    for (index, term) in query.terms.iter().enumerate() {
        let pointer = |key: &str| format!("/terms/{index}/{key}");
        let embedding = match &term.what {
            What::Text(text) => {
                let answer = collection.embedder.text(text).await?;
                truncated |= answer.truncated;
                answer.embedding.as_ref().clone()
            }
            What::Picture(id) => {
                let (id, embedding) = collection.stored(id, pointer("picture")).await?;
                named.push(id);
                embedding
            }
            What::Image(name) => sent(collection, images, name, pointer("image")).await?,
            What::Vector(values) => vector(values, collection.embedder.facts().dim)
                .map_err(|fault| SearchError::at(pointer("vector"), fault))?,
        };
        parts.push((term.weight, embedding));
    }
    let parts: Vec<(f32, &Embedding)> = parts.iter().map(|(weight, e)| (*weight, e)).collect();
    let sum = Embedding::weighted_sum(&parts);
    let vector = sum.map_err(|_| SearchError::at("/terms", Fault::ZeroSum))?;
    Ok(Meaning { vector, named, truncated })
}

/// Embeds a picture that came with the request.
pub(super) async fn sent(
    collection: &Collection,
    images: &Images,
    name: &str,
    pointer: String,
) -> Result<Embedding, SearchError> {
    let Some(bytes) = images.get(name) else {
        return Err(SearchError::at(pointer, Fault::NoSuchPart(name.to_owned())));
    };
    match collection.embedder.picture(Arc::clone(bytes)).await {
        Ok(picture) => Ok(picture.embedding),
        Err(EmbedError::Picture(source)) => {
            Err(SearchError::Picture { name: name.to_owned(), pointer, source })
        }
        Err(other) => Err(other.into()),
    }
}

/// A vector of the sender's, made an embedding of this model.
fn vector(values: &[f32], expected: usize) -> Result<Embedding, Fault> {
    if values.len() != expected {
        let found = values.len();
        return Err(Fault::Vector(EmbeddingError::Dimension { expected, found }));
    }
    Embedding::new(values.to_vec()).map_err(Fault::Vector)
}

/// The rows of a page; what was deleted meanwhile is left out.
async fn hits(
    collection: &Collection,
    page: &[(PictureId, f32)],
    comparison: Option<Comparison>,
) -> Result<Vec<Hit>, SearchError> {
    let ids: Vec<PictureId> = page.iter().map(|(id, _)| *id).collect();
    let summaries = collection.reader.summaries(&ids).await?;
    let score = |id| page.iter().find(|(other, _)| *other == id).map_or(0.0, |(_, score)| *score);
    let hit = |picture: crate::catalog::Summary| Hit {
        score: score(picture.id),
        calibrated: comparison.map(|all| all.calibrated(score(picture.id))),
        thumbnail: format!("/v1/pictures/{}/thumbnail?size=320", picture.id),
        id: picture.id,
        path: picture.path,
        width: picture.width,
        height: picture.height,
    };
    Ok(summaries.into_iter().map(hit).collect())
}

#[cfg(test)]
mod tests {
    use super::super::Term;
    use super::*;

    #[test]
    fn only_words_have_a_background() {
        let words = || Term::text("a dog");
        let against = || words().weighing(-0.5);
        assert!(is_of_words(&Query::of(vec![words(), against()])));
        assert!(!is_of_words(&Query::of(vec![against()])));
        assert!(!is_of_words(&Query::of(vec![words(), Term::image("image")])));
    }

    #[test]
    fn a_vector_is_normalized_and_a_wrong_one_says_why() {
        assert_eq!(vector(&[3.0, 4.0], 2).unwrap().as_slice(), [0.6, 0.8]);
        let wrong = vector(&[1.0], 2).unwrap_err().to_string();
        assert!(wrong.contains("expected 2") && wrong.contains("found 1"), "{wrong}");
        assert!(vector(&[0.0, 0.0], 2).is_err());
        assert!(vector(&[f32::INFINITY, 0.0], 2).is_err());
    }
}
