//! What is delivered: each kind of package, made of the staged programs, and what is told of a release.

mod archive;
mod changelog;
mod deb;
mod elsewhere;
mod image;
mod sbom;
mod snap;
mod workflows;
