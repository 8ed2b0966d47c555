//! The types of consensus.
