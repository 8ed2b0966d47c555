//! Plugins that are subtly wrong, each as somebody would write it in good faith, and the law that each breaks.

mod policies;
mod resolvers;

use super::*;

#[track_caller]
fn broken(checked: Result<Report, Stopped>) -> Finding {
    match checked {
        Err(Stopped::Broken(finding)) => *finding,
        other => panic!("it was let pass: {other:?}"),
    }
}

#[track_caller]
fn kept(checked: Result<Report, Stopped>) -> Report {
    match checked {
        Ok(report) => report,
        Err(Stopped::Broken(finding)) => panic!("{finding}"),
        Err(stopped) => panic!("{stopped:?}"),
    }
}
