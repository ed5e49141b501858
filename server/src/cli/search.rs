//! `clipsight search`: pictures by words, by pictures, or by both.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::{Outcome, collection, output};
use crate::search::{Answer, GOOD, Images, Query, Term, find};
use crate::settings::CollectionSettings;

/// How much the words of `--not` count: enough to steer away, not enough to lead.
const NOT_WEIGHT: f32 = -0.5;

/// Finds pictures by words, by other pictures, or by both
///
/// Examples:
///   clipsight search a dog on the beach
///   clipsight search --image sunset.jpg
///   clipsight search a beach at dusk --not people --limit 20
///
/// Works beside a running server. Ends with 1 if nothing was found.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct SearchArgs {
    /// What should be on the pictures, in English
    words: Vec<String>,
    /// Picture file that the hits should resemble; may be repeated
    #[arg(long, value_name = "FILE")]
    image: Vec<PathBuf>,
    /// What should not be on the pictures; may be repeated
    #[arg(long, value_name = "WORDS")]
    not: Vec<String>,
    /// Most pictures to show
    #[arg(long, value_name = "N", default_value_t = 10)]
    limit: usize,
    /// Lowest cosine similarity that still counts; with the starter, good hits for words have 0.4 to 0.7
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    min_score: Option<f32>,
    /// Print the answer as JSON, as the API gives it
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    of: CollectionSettings,
}

pub(super) fn run(args: &SearchArgs) -> Result<Outcome> {
    let (query, images) = query(args)?;
    let answer = collection::tokio()?.block_on(async {
        let collection = collection::open(&args.of).await?;
        Ok::<_, anyhow::Error>(find(&collection, &query, &images).await?)
    })?;
    if args.json {
        output::json(&answer)?;
    } else {
        show(&answer)?;
    }
    Ok(if answer.hits.is_empty() { Outcome::Partly } else { Outcome::Done })
}

/// The words of the command line as the query that the API would get.
fn query(args: &SearchArgs) -> Result<(Query, Images)> {
    let (mut terms, mut images) = (Vec::new(), Images::new());
    if !args.words.is_empty() {
        terms.push(Term::text(args.words.join(" ")));
    }
    for path in &args.image {
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.display().to_string();
        images.insert(name.clone(), Arc::new(bytes));
        terms.push(Term::image(name));
    }
    terms.extend(args.not.iter().map(|words| Term::text(words.as_str()).weighing(NOT_WEIGHT)));
    if terms.is_empty() {
        bail!("nothing to look for: give words, --image FILE or --not WORDS");
    }
    let query = Query { limit: args.limit, min_score: args.min_score, ..Query::of(terms) };
    query.check().map_err(|(_, fault)| fault)?;
    Ok((query, images))
}

fn show(answer: &Answer) -> Result<()> {
    let row = |hit: &crate::search::Hit| {
        let size = format!("{}×{}", hit.width, hit.height);
        [format!("{:.3}", hit.score), hit.id.to_string(), size, hit.path.clone()]
    };
    let rows: Vec<[String; 4]> = answer.hits.iter().map(row).collect();
    if !rows.is_empty() {
        let good = answer.hits.iter().take_while(|hit| hit.calibrated.is_none_or(|c| c >= GOOD));
        // The heading is the first line.
        let weaker = 1 + good.count();
        for (at, line) in output::table(["score", "id", "size", "path"], &rows).iter().enumerate() {
            match at == weaker {
                true if at == 1 => output::tell("nothing here really matches; these come nearest"),
                true => output::line("-- weaker matches below --")?,
                false => {}
            }
            output::line(line)?;
        }
    }
    let found = if rows.is_empty() { "nothing".to_owned() } else { rows.len().to_string() };
    output::tell(&format!(
        "{found} of {} pictures in {} ms ({})",
        answer.total_indexed, answer.took_ms, answer.path_taken
    ));
    if answer.truncated {
        output::tell("the model read only the beginning of the text");
    }
    Ok(())
}
