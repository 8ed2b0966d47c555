//! Resolver for stock counts: every concurrent sale is subtracted.
