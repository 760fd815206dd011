//! (skeleton) replaced by its owner.
