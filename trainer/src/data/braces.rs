//! Several names written as one: `train-{000..009}.tar`, `{a,b}.tar`.

/// Names that one pattern may stand for.
const MOST: usize = 100_000;

/// All names that a pattern stands for, in its order; a range keeps the zeros of its beginning.
///
/// # Errors
/// What is wrong with the braces, to follow the pattern's name.
pub(super) fn expand(pattern: &str) -> Result<Vec<String>, String> {
    let mut names = vec![String::new()];
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((inside, tail)) = after.split_once('}') else {
            return Err("opens a brace that is not closed".to_owned());
        };
        let choices = choices(inside)?;
        if names.len() * choices.len() > MOST {
            return Err(format!("stands for more than {MOST} files"));
        }
        names = names
            .iter()
            .flat_map(|name| choices.iter().map(move |choice| format!("{name}{before}{choice}")))
            .collect();
        rest = tail;
    }
    names.iter_mut().for_each(|name| name.push_str(rest));
    Ok(names)
}

fn choices(inside: &str) -> Result<Vec<String>, String> {
    let wrong = || format!("has {{{inside}}}, which is neither {{000..009}} nor {{a,b}}");
    let Some((first, last)) = inside.split_once("..") else {
        let listed: Vec<String> = inside.split(',').map(str::to_owned).collect();
        let fine = listed.len() > 1 && listed.iter().all(|choice| !choice.contains('{'));
        return if fine { Ok(listed) } else { Err(wrong()) };
    };
    let number = |text: &str| {
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<usize>().ok().filter(|_| digits).ok_or_else(wrong)
    };
    let (from, to) = (number(first)?, number(last)?);
    if from > to {
        return Err(format!("has {{{inside}}}, which ends before it begins"));
    }
    if to - from >= MOST {
        return Err(format!("stands for more than {MOST} files"));
    }
    let width = if first.starts_with('0') { first.len() } else { 0 };
    Ok((from..=to).map(|n| format!("{n:0width$}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_keep_their_zeros_and_lists_their_order() {
        assert_eq!(expand("a.tar").unwrap(), ["a.tar"]);
        assert_eq!(expand("t-{08..10}.tar").unwrap(), ["t-08.tar", "t-09.tar", "t-10.tar"]);
        assert_eq!(expand("{b,a}/{0..1}").unwrap(), ["b/0", "b/1", "a/0", "a/1"]);
        assert_eq!(expand("{8..10}").unwrap(), ["8", "9", "10"]);
    }

    #[test]
    fn braces_that_stand_for_nothing_are_refused() {
        for (pattern, word) in [
            ("a-{000", "not closed"),
            ("a-{}", "neither"),
            ("a-{x..y}", "neither"),
            ("a-{+1..3}", "neither"),
            ("a-{b{1,2}}", "neither"),
            ("a-{3..1}", "before it begins"),
            ("a-{0..99999999}", "more than"),
            ("{0..999}{0..999}", "more than"),
        ] {
            let reason = expand(pattern).unwrap_err();
            assert!(reason.contains(word), "{pattern}: {reason}");
        }
    }
}
