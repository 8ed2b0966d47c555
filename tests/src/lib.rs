//! Integration, simulation and load tests of Skerry.
