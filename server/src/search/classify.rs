//! Which of these labels a picture shows, by words alone.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use clip::Embedding;
use clip::zero_shot::{Logits, class_embedding, fill_template};
use lru::LruCache;
use serde::{Deserialize, Serialize};

use super::find::sent;
use super::{Collection, Fault, Images, SearchError, check_text};
use crate::embed::Embedder;

/// Most labels to choose from.
pub const MAX_LABELS: usize = 2000;
/// Most templates.
pub const MAX_TEMPLATES: usize = 100;
/// Most prompts, labels times templates: the model reads each once per label set.
pub const MAX_PROMPTS: usize = 20_000;

/// What is to be classified, and into what.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Classify {
    /// A picture of the collection; absent where one is sent along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<String>,
    /// The labels to choose from, each once.
    pub labels: Vec<String>,
    /// Sentences that say `{}` where the label goes; the model's own where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub templates: Option<Vec<String>>,
    /// Most labels in the answer.
    #[serde(default = "five")]
    pub limit: usize,
}

/// The likeliest labels.
#[derive(Debug, Clone, Serialize)]
pub struct Classified {
    /// Likeliest first.
    pub labels: Vec<Label>,
}

/// One label of the answer.
#[derive(Debug, Clone, Serialize)]
pub struct Label {
    /// As it was given.
    pub label: String,
    /// Among the labels given, where those of all of them sum to one; of a model that was trained
    /// with a sigmoid (SigLIP), of each label for itself.
    pub probability: f32,
    /// Cosine similarity of picture and label.
    pub score: f32,
}

/// The part of a request that names the picture sent along.
const PART: &str = "image";

/// Ranks the labels for one picture: of the collection, or the one image that came along.
///
/// # Errors
/// [`super::SearchError`], with pointers into the request.
pub async fn classify(
    collection: &Collection,
    request: &Classify,
    images: &Images,
) -> Result<Classified, SearchError> {
    collection.classifier.check(request)?;
    let picture = match (&request.picture, images.contains_key(PART)) {
        (Some(id), false) => collection.stored(id, "/picture".to_owned()).await?.1,
        (None, true) => sent(collection, images, PART, "/image".to_owned()).await?,
        _ => return Err(SearchError::at("/picture", Fault::OnePicture)),
    };
    collection.classifier.rank(request, &picture).await
}

/// Label sets whose vectors are kept; at most four megabytes each.
const LABEL_SETS: NonZeroUsize = NonZeroUsize::new(16).expect("sixteen is not zero");

/// Labels and templates, as they were sent.
type LabelSet = (Vec<String>, Vec<String>);

/// Ranks labels; keeps the vectors of the label sets that were used last.
pub struct Classifier {
    embedder: Embedder,
    known: Mutex<LruCache<LabelSet, Arc<Vec<Embedding>>>>,
}

impl Classifier {
    /// Classifies by this model.
    #[must_use]
    pub fn new(embedder: Embedder) -> Self {
        Self { embedder, known: Mutex::new(LruCache::new(LABEL_SETS)) }
    }

    /// Refuses what can be refused without embedding anything.
    ///
    /// # Errors
    /// [`SearchError::Request`] for the first fault.
    pub fn check(&self, request: &Classify) -> Result<(), SearchError> {
        check(request, self.templates(request))
            .map_err(|(pointer, fault)| SearchError::at(pointer, fault))
    }

    /// Ranks the labels of a checked request for a picture.
    ///
    /// # Errors
    /// [`SearchError::Overloaded`], and what the model says.
    pub async fn rank(
        &self,
        request: &Classify,
        picture: &Embedding,
    ) -> Result<Classified, SearchError> {
        let classes = self.classes(&request.labels, self.templates(request)).await?;
        let scores: Vec<f32> = classes.iter().map(|class| class.cosine(picture)).collect();
        let facts = self.embedder.facts();
        let logits = Logits { logit_scale: facts.logit_scale, logit_bias: facts.logit_bias };
        let shares = logits.probabilities(&scores);
        let mut labels: Vec<Label> = (request.labels.iter().zip(scores).zip(shares))
            .map(|((label, score), probability)| Label { label: label.clone(), probability, score })
            .collect();
        labels.sort_by(|a, b| b.score.total_cmp(&a.score));
        labels.truncate(request.limit);
        Ok(Classified { labels })
    }

    /// The templates of the request, or the model's own.
    fn templates<'a>(&'a self, request: &'a Classify) -> &'a [String] {
        request.templates.as_ref().unwrap_or(&self.embedder.facts().templates)
    }

    /// The vectors of a label set: kept from last time, or made now.
    async fn classes(
        &self,
        labels: &[String],
        templates: &[String],
    ) -> Result<Arc<Vec<Embedding>>, SearchError> {
        let key = (labels.to_vec(), templates.to_vec());
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(classes) = known().get(&key).cloned() {
            return Ok(classes);
        }
        let embedded = self.embedder.texts(prompts(labels, templates)?).await?;
        let classes = embedded.chunks(templates.len()).enumerate().map(|(index, prompts)| {
            let vectors: Vec<Embedding> =
                prompts.iter().map(|prompt| prompt.embedding.as_ref().clone()).collect();
            let cancelled = |_| SearchError::at(format!("/labels/{index}"), Fault::ZeroSum);
            class_embedding(&vectors).map_err(cancelled)
        });
        let classes = Arc::new(classes.collect::<Result<Vec<_>, _>>()?);
        known().put(key, Arc::clone(&classes));
        Ok(classes)
    }
}

/// Every template filled with the first label, then with the second, and so on.
fn prompts(labels: &[String], templates: &[String]) -> Result<Vec<String>, SearchError> {
    let filled = labels.iter().flat_map(|label| templates.iter().map(move |t| (t, label)));
    filled
        .map(|(template, label)| fill_template(template, label))
        .collect::<Result<_, _>>()
        .map_err(|error| SearchError::at("/templates", Fault::Template(error.to_string())))
}

/// Refuses what can be refused without embedding anything.
fn check(request: &Classify, templates: &[String]) -> Result<(), (String, Fault)> {
    let at = |pointer: &str, fault| Err((pointer.to_owned(), fault));
    let (labels, prompts) = (request.labels.len(), request.labels.len() * templates.len());
    let many = |what, max, found| Fault::TooMany { what, max, found };
    if labels == 0 {
        return at("/labels", Fault::NoLabels);
    }
    if labels > MAX_LABELS {
        return at("/labels", many("labels", MAX_LABELS, labels));
    }
    if templates.is_empty() {
        return at("/templates", Fault::NoTemplates);
    }
    if templates.len() > MAX_TEMPLATES {
        return at("/templates", many("templates", MAX_TEMPLATES, templates.len()));
    }
    for (index, template) in templates.iter().enumerate() {
        // What goes into the slot is looked at below; here it is the slot that counts.
        fill_template(template, "")
            .map_err(|error| (format!("/templates/{index}"), Fault::Template(error.to_string())))?;
    }
    if prompts > MAX_PROMPTS {
        return at("/labels", many("labels times templates", MAX_PROMPTS, prompts));
    }
    if !(1..=MAX_LABELS).contains(&request.limit) {
        return at("/limit", Fault::Limit { max: MAX_LABELS, found: request.limit });
    }
    let mut seen = BTreeSet::new();
    for (index, label) in request.labels.iter().enumerate() {
        let pointer = format!("/labels/{index}");
        check_text(label).map_err(|fault| (pointer.clone(), fault))?;
        if !seen.insert(label) {
            return at(&pointer, Fault::SameLabel(label.clone()));
        }
    }
    Ok(())
}

fn five() -> usize {
    5
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(labels: &[&str], templates: &[&str]) -> Option<(String, Fault)> {
        let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let request =
            Classify { picture: None, labels: owned(labels), templates: None, limit: five() };
        check(&request, &owned(templates)).err()
    }

    #[test]
    fn each_label_fills_every_template() {
        let words = |words: &[&str]| words.iter().map(|&w| w.to_owned()).collect::<Vec<_>>();
        let prompts = prompts(&words(&["cat", "dog"]), &words(&["a {}", "the {}"])).unwrap();
        assert_eq!(prompts, ["a cat", "the cat", "a dog", "the dog"]);
    }

    #[test]
    fn labels_are_words_and_each_is_there_once() {
        assert_eq!(fault(&["cat", "dog"], &["a {}"]), None);
        assert_eq!(fault(&[], &["a {}"]).unwrap().1, Fault::NoLabels);
        assert_eq!(fault(&["cat", ""], &["a {}"]).unwrap(), ("/labels/1".into(), Fault::EmptyText));
        assert_eq!(fault(&["a", "b", "a"], &["{}"]).unwrap().0, "/labels/2");
        assert_eq!(fault(&["a"], &[]).unwrap().0, "/templates");
        assert_eq!(fault(&["a"], &["{}", "no slot"]).unwrap().0, "/templates/1");
    }
}
