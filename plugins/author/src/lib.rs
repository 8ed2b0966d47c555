//! What a plugin's author does on their own machine: a folder with a plugin in it (`new`), the component made of it
//! (`build`), its tests, examples and laws (`test`), and one conflict or a few operations tried on it (`try`).

#![forbid(unsafe_code)]

pub mod examples;
mod javascript;
mod project;

pub use project::{Error, Kind, Language, Project, new};
