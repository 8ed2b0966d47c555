//! Replicas that have taken the same changes show the same (strong eventual consistency: Shapiro et al. 2011), views and
//! open conflicts alike. Looked at when nothing moves any more.

use super::{Checker, View, excerpt};

pub(super) struct EdgeConvergence;

impl Checker for EdgeConvergence {
    fn name(&self) -> &'static str {
        "convergence of nodes and edges"
    }

    fn look(&mut self, view: &View) -> Result<(), String> {
        let Some((first, others)) = view.rest.as_ref().and_then(|rest| rest.replicas.split_first()) else {
            return Ok(());
        };
        match others.iter().find(|other| other.1 != first.1) {
            Some(other) => {
                let differs = |document: &&String| first.1.get(*document) != other.1.get(*document);
                let document = first.1.keys().chain(other.1.keys()).find(differs).map_or("", String::as_str);
                let [one, another] = [&first.1, &other.1].map(|shown| excerpt(shown, document));
                Err(format!("of {document} {} shows {one}, {} shows {another}", first.0, other.0))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::refuses;
    use super::super::{RestView, Shown};
    use super::*;

    #[test]
    fn replicas_that_differ_are_found() {
        let shows = |view: &str, conflicts| -> Shown { [("d".to_owned(), Some((view.to_owned(), conflicts)))].into() };
        let at_rest = |replicas: [Shown; 2]| {
            let replicas = ["node 1", "shop"].map(str::to_owned).into_iter().zip(replicas).collect();
            let rest = RestView { replicas, stored: Vec::new(), stranded: Vec::new(), asked: [].into() };
            View { rest: Some(rest), ..View::default() }
        };
        let same = at_rest([shows("{}", 0), shows("{}", 0)]);
        refuses(EdgeConvergence, vec![same.clone(), at_rest([shows("{}", 0), shows(r#"{"a":1}"#, 0)])]);
        refuses(EdgeConvergence, vec![same, at_rest([shows("{}", 0), shows("{}", 1)])]);
    }
}
