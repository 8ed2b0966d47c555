//! What turns one sequence into another with few insertions and removals, in bounded time. After: Myers, "An O(ND)
//! difference algorithm and its variations" (1986), figure 2, given up past a number of steps.

use std::ops::Range;

/// One replacement. Either range may be empty, never both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edit {
    /// What goes.
    pub(super) old: Range<usize>,
    /// What comes in its place.
    pub(super) new: Range<usize>,
}

/// The edits, first one first, with something in common between any two. Looks for up to `steps_max` insertions and
/// removals, then takes all between the common ends as replaced: time and memory grow with `steps_max` squared.
pub(super) fn edits<T: PartialEq>(old: &[T], new: &[T], steps_max: usize) -> Vec<Edit> {
    let prefix = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[prefix..], &new[prefix..]);
    let suffix = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[..old.len() - suffix], &new[..new.len() - suffix]);
    if old.is_empty() && new.is_empty() {
        return Vec::new();
    }
    let whole = Edit { old: 0..old.len(), new: 0..new.len() };
    let found = if old.is_empty() || new.is_empty() {
        vec![whole]
    } else {
        search(old, new, steps_max).unwrap_or_else(|| vec![whole])
    };
    let shift = |range: Range<usize>| range.start + prefix..range.end + prefix;
    found.into_iter().map(|Edit { old, new }| Edit { old: shift(old), new: shift(new) }).collect()
}

/// How far each diagonal reaches: the number of old items used, by (old used - new used). `None` where it cannot reach.
struct Reach {
    steps_max: usize,
    furthest: Vec<Option<usize>>,
}

impl Reach {
    fn at(&self, diagonal: isize) -> Option<usize> {
        let index = diagonal.checked_add_unsigned(self.steps_max + 1)?;
        *self.furthest.get(usize::try_from(index).ok()?)?
    }

    fn set(&mut self, diagonal: isize, reach: Option<usize>) {
        let index = diagonal.checked_add_unsigned(self.steps_max + 1).and_then(|index| usize::try_from(index).ok());
        self.furthest[index.expect("diagonals stay within the steps")] = reach;
    }
}

/// Where a step onto a diagonal starts: by an insertion from the diagonal above, or by a removal from the one below,
/// whichever reaches further.
fn step(reach: &Reach, diagonal: isize, old_length: usize, new_length: usize) -> Option<(usize, bool)> {
    let insertion =
        reach.at(diagonal + 1).filter(|&used| used.checked_add_signed(-diagonal).is_some_and(|new| new <= new_length));
    let removal = reach.at(diagonal - 1).map(|used| used + 1).filter(|&used| used <= old_length);
    match (insertion, removal) {
        (Some(inserted), Some(removed)) if inserted >= removed => Some((inserted, true)),
        (_, Some(removed)) => Some((removed, false)),
        (Some(inserted), None) => Some((inserted, true)),
        (None, None) => None,
    }
}

fn search<T: PartialEq>(old: &[T], new: &[T], steps_max: usize) -> Option<Vec<Edit>> {
    let steps_max = steps_max.min(old.len() + new.len());
    let last = isize::try_from(old.len()).ok()?.checked_sub_unsigned(new.len())?;
    let mut reach = Reach { steps_max, furthest: vec![None; 2 * steps_max + 3] };
    // Both ends differ, so nothing is reached without a step.
    reach.set(0, Some(0));
    let mut rounds = Vec::new();
    for steps in 1..=isize::try_from(steps_max).ok()? {
        let before = Reach { steps_max, furthest: reach.furthest.clone() };
        for diagonal in (-steps..=steps).step_by(2) {
            let reached =
                step(&before, diagonal, old.len(), new.len()).map(|(used, _)| follow(old, new, used, diagonal));
            reach.set(diagonal, reached);
        }
        rounds.push(before.furthest);
        if reach.at(last) == Some(old.len()) {
            return Some(trace_back(old.len(), new.len(), steps_max, rounds, last));
        }
    }
    None
}

/// Uses what the two have in common from here on.
fn follow<T: PartialEq>(old: &[T], new: &[T], used: usize, diagonal: isize) -> usize {
    let new_used = used.checked_add_signed(-diagonal).expect("a step onto a diagonal stays within the new items");
    used + old[used..].iter().zip(&new[new_used..]).take_while(|(a, b)| a == b).count()
}

fn trace_back(
    old_length: usize,
    new_length: usize,
    steps_max: usize,
    rounds: Vec<Vec<Option<usize>>>,
    last: isize,
) -> Vec<Edit> {
    let (mut diagonal, mut edits) = (last, Vec::<Edit>::new());
    for furthest in rounds.into_iter().rev() {
        let before = Reach { steps_max, furthest };
        let (used, inserted) =
            step(&before, diagonal, old_length, new_length).expect("this step was taken on the way here");
        let new_used = used.checked_add_signed(-diagonal).expect("this step was taken on the way here");
        let edit = if inserted {
            diagonal += 1;
            Edit { old: used..used, new: new_used - 1..new_used }
        } else {
            diagonal -= 1;
            Edit { old: used - 1..used, new: new_used..new_used }
        };
        match edits.last_mut() {
            Some(next) if next.old.start == edit.old.end && next.new.start == edit.new.end => {
                next.old.start = edit.old.start;
                next.new.start = edit.new.start;
            }
            _ => edits.push(edit),
        }
    }
    edits.reverse();
    edits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn applied(old: &[u8], new: &[u8], edits: &[Edit]) -> Vec<u8> {
        let mut result = old.to_vec();
        for edit in edits.iter().rev() {
            result.splice(edit.old.clone(), new[edit.new.clone()].iter().copied());
        }
        result
    }

    #[track_caller]
    fn check(old: &str, new: &str, expected: &[(Range<usize>, Range<usize>)]) {
        let found = edits(old.as_bytes(), new.as_bytes(), 100);
        let found: Vec<_> = found.into_iter().map(|edit| (edit.old, edit.new)).collect();
        assert_eq!(found, expected, "{old} to {new}");
    }

    #[test]
    fn edits_are_small() {
        check("abc", "abc", &[]);
        check("", "ab", &[(0..0, 0..2)]);
        check("ab", "", &[(0..2, 0..0)]);
        check("abcde", "abXde", &[(2..3, 2..3)]);
        check("abcdefg", "XbcdefY", &[(0..1, 0..1), (6..7, 6..7)]);
        check("abcdef", "bcdXef", &[(0..1, 0..0), (4..4, 3..4)]);
    }

    #[test]
    fn past_the_steps_the_middle_is_replaced() {
        let found = edits(b"-abcd-", b"-wabcdz-", 1);
        assert_eq!(found, [Edit { old: 1..5, new: 1..7 }]);
    }

    proptest! {
        #[test]
        fn edits_lead_from_old_to_new(
            old in proptest::collection::vec(0u8..4, 0..40),
            new in proptest::collection::vec(0u8..4, 0..40),
            steps in 0usize..90,
        ) {
            let found = edits(&old, &new, steps);
            prop_assert_eq!(applied(&old, &new, &found), new.clone());
            for pair in found.windows(2) {
                prop_assert!(pair[0].old.end < pair[1].old.start && pair[0].new.end < pair[1].new.start);
            }
        }
    }
}
