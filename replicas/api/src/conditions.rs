//! `If-Match` and `If-None-Match` as headers (RFC 9110, sections 8.8.3, 13.1.1 and 13.1.2).

use axum::http::HeaderMap;
use axum::http::header::{HeaderName, IF_MATCH, IF_NONE_MATCH};

use crate::documents::{Conditions, ETag, Match};
use crate::limits::CONDITION_TAGS_MAX;
use crate::problem::{Kind, Problem};

/// How tags are compared (RFC 9110, section 8.8.3.2).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    /// A weak tag equals nothing.
    Strong,
    /// A weak tag equals the strong one of the same text.
    Weak,
}

/// The conditions of a request.
pub(crate) fn parse(headers: &HeaderMap) -> Result<Conditions, Problem> {
    Ok(Conditions {
        if_match: parse_header(headers, &IF_MATCH, Comparison::Strong)?,
        if_none_match: parse_header(headers, &IF_NONE_MATCH, Comparison::Weak)?,
    })
}

/// The text of a header that names these versions.
pub(crate) fn print(tags: &Match) -> String {
    match tags {
        Match::Any => "*".to_owned(),
        Match::Tags(tags) => tags.iter().map(quoted).collect::<Vec<_>>().join(", "),
    }
}

/// A tag as headers carry it.
pub(crate) fn quoted(tag: &ETag) -> String {
    format!("\"{}\"", tag.0)
}

fn parse_header(headers: &HeaderMap, name: &HeaderName, by: Comparison) -> Result<Option<Match>, Problem> {
    let malformed = || {
        let form = "must be * or a list of quoted entity tags such as \"abc\"";
        Problem::new(Kind::Malformed, format!("the header {name} {form}"))
    };
    let (mut tags, mut lines) = (Vec::new(), 0);
    for value in headers.get_all(name) {
        lines += 1;
        let mut rest = value.to_str().map_err(|_| malformed())?.trim();
        if rest == "*" && lines == 1 && headers.get_all(name).iter().nth(1).is_none() {
            return Ok(Some(Match::Any));
        }
        while let Some((weak, tag, after)) = next_tag(rest).ok_or_else(malformed)? {
            if tags.len() == CONDITION_TAGS_MAX {
                let detail = format!("the header {name} lists more than {CONDITION_TAGS_MAX} entity tags");
                return Err(Problem::new(Kind::Malformed, detail));
            }
            if !weak || by == Comparison::Weak {
                tags.push(ETag(tag.to_owned()));
            }
            rest = after;
        }
    }
    Ok((lines > 0).then_some(Match::Tags(tags)))
}

/// The next tag of a list and what follows it; `Some(None)` at the end, `None` when it is no list of tags.
fn next_tag(list: &str) -> Option<Option<(bool, &str, &str)>> {
    let list = list.trim_start_matches([' ', '\t', ',']);
    if list.is_empty() {
        return Some(None);
    }
    let (weak, opaque) = list.strip_prefix("W/").map_or((false, list), |rest| (true, rest));
    let (tag, after) = opaque.strip_prefix('"')?.split_once('"')?;
    let after = after.trim_start_matches([' ', '\t']);
    let well_formed = tag.bytes().all(|byte| byte.is_ascii_graphic()) && (after.is_empty() || after.starts_with(','));
    well_formed.then_some(Some((weak, tag, after)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(name: HeaderName, lines: &[&str]) -> Result<Conditions, Problem> {
        let headers = lines.iter().map(|line| (name.clone(), line.parse().unwrap())).collect();
        parse(&headers)
    }

    #[track_caller]
    fn check_if_match(lines: &[&str], expected: &[&str]) {
        let tags = expected.iter().map(|tag| ETag((*tag).to_owned())).collect();
        assert_eq!(parsed(IF_MATCH, lines).unwrap().if_match, Some(Match::Tags(tags)), "{lines:?}");
    }

    #[test]
    fn lists_are_taken_over_several_lines() {
        check_if_match(&[r#""a""#], &["a"]);
        check_if_match(&[r#" "a" , "b,c""#, r#"W/"w","d""#], &["a", "b,c", "d"]);
        check_if_match(&[r#", ,"a",, "#], &["a"]);
        check_if_match(&[r#""""#], &[""]);
    }

    #[test]
    fn weak_tags_meet_if_none_match_alone() {
        let now = ETag("a".to_owned());
        assert!(!parsed(IF_MATCH, &[r#"W/"a""#]).unwrap().hold(Some(&now)));
        assert!(!parsed(IF_NONE_MATCH, &[r#"W/"a""#]).unwrap().hold(Some(&now)));
        assert!(parsed(IF_NONE_MATCH, &[r#"W/"b""#]).unwrap().hold(Some(&now)));
    }

    #[test]
    fn a_star_is_any_version_and_stands_alone() {
        assert_eq!(parsed(IF_MATCH, &["*"]).unwrap().if_match, Some(Match::Any));
        assert!(parsed(IF_NONE_MATCH, &["*"]).unwrap().hold(None));
        assert!(parsed(IF_MATCH, &["*", r#""a""#]).is_err());
        assert!(parsed(IF_MATCH, &[r#""a", *"#]).is_err());
    }

    #[test]
    fn what_is_no_list_of_tags_is_refused() {
        for line in ["abc", r#""a"#, r#""a" "b""#, r#"w/"a""#, r#""a b""#] {
            let problem = parsed(IF_MATCH, &[line]).unwrap_err();
            assert_eq!(problem.kind, Kind::Malformed, "{line}");
            assert!(problem.detail.contains("if-match"), "{}", problem.detail);
        }
    }

    #[test]
    fn the_number_of_tags_is_bounded() {
        let line = |tags| vec![r#""t""#; tags].join(",");
        assert!(parsed(IF_MATCH, &[&line(CONDITION_TAGS_MAX)]).is_ok());
        let problem = parsed(IF_MATCH, &[&line(CONDITION_TAGS_MAX + 1)]).unwrap_err();
        assert_eq!(problem.detail, "the header if-match lists more than 64 entity tags");
    }

    #[test]
    fn printing_round_trips() {
        let tags = Match::Tags(vec![ETag("a".to_owned()), ETag("b,c".to_owned())]);
        assert_eq!(parsed(IF_MATCH, &[&print(&tags)]).unwrap().if_match, Some(tags));
        assert_eq!(parsed(IF_MATCH, &[&print(&Match::Any)]).unwrap().if_match, Some(Match::Any));
    }
}
