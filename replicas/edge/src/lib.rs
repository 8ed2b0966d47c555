//! The edge replica: the embeddable library and skerry-edge.
