//! Real data.

#[cfg(test)]
mod subdivisions;
