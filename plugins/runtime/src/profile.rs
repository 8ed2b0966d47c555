//! Under what a plugin runs: everything that its result can depend on, but for its input.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use wasmtime::{OperatorCost, VariableOperatorCost, WasmFeatures};

use crate::error::Error;

/// The major version of wasmtime that is built in: what Cargo.toml asks for.
pub(crate) const WASMTIME_MAJOR: u32 = 48;

/// The profiles that this build knows, by name, oldest first.
const KNOWN: [(&str, &str); 1] = [("1", include_str!("../profiles/1.toml"))];

/// What a plugin runs under. Replicas that agree on it agree on every result and on the fuel it took; so a deploy names
/// one, and a new one is a new name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeProfile {
    /// Its name.
    pub name: String,
    /// Major version of wasmtime.
    pub wasmtime: u32,
    /// The proposals that a component may use.
    pub features: BTreeSet<Feature>,
    /// Fuel of one call, from instantiation to answer.
    pub fuel: u64,
    /// All linear memories of one call together, in bytes.
    pub memory_bytes: usize,
    /// All tables of one call together, in elements.
    pub table_elements: usize,
    /// Stack of one call, in bytes. The calling thread must have as much and 512 KiB more, or the process aborts.
    pub stack_bytes: usize,
    /// Core modules that a component may instantiate.
    pub core_instances: usize,
    /// Text that a call is handed, in bytes.
    pub input_bytes: usize,
    /// Text that a call hands back, in bytes.
    pub output_bytes: usize,
    /// One state of a merge policy, in bytes.
    pub state_bytes: usize,
    /// A component's size, in bytes.
    pub binary_bytes: usize,
    /// Wall-clock time of one call, in milliseconds. Passing it says something of the host, so it is never a result.
    pub alarm_ms: u64,
    /// Fuel of every operator.
    pub operator_cost: Vec<OperatorCosts>,
    /// Fuel of work whose size is known only when it runs.
    pub variable_cost: VariableOperatorCost,
}

/// Operators that cost the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorCosts {
    /// What each costs.
    pub fuel: u8,
    /// Their names, as wasmparser spells them.
    pub operators: Vec<String>,
}

/// A WebAssembly proposal that is in the standard, deterministic, and not in its first version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Feature {
    /// Copies and fills of whole ranges.
    BulkMemory,
    /// Sums and products in constant expressions.
    ExtendedConst,
    /// Conversions that saturate instead of trapping.
    FloatToInt,
    /// Several linear memories in a module; what a component passes between its own modules needs two.
    MultiMemory,
    /// Functions and blocks with several results.
    MultiValue,
    /// Globals that change and cross modules.
    MutableGlobals,
    /// References to functions in tables.
    ReferenceTypes,
    /// Sign extension within an integer.
    SignExtension,
    /// 128-bit vectors, without the relaxed operators.
    Simd,
}

impl RuntimeProfile {
    /// The newest profile.
    ///
    /// # Panics
    /// Never: a test reads every profile that is built in.
    #[must_use]
    pub fn newest() -> Self {
        let (name, _) = KNOWN[KNOWN.len() - 1];
        Self::named(name).expect("the newest profile is a known one")
    }

    /// The profile of this name, if this build knows it.
    ///
    /// # Panics
    /// Never: a test reads every profile that is built in.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let (_, text) = KNOWN.iter().find(|(known, _)| *known == name)?;
        Some(toml::from_str(text).expect("the profiles in this crate are read by its tests"))
    }

    /// The features as wasmtime's flags, with what no component does without.
    pub(crate) fn wasm_features(&self) -> WasmFeatures {
        let always = WasmFeatures::COMPONENT_MODEL | WasmFeatures::FLOATS;
        self.features.iter().fold(always, |flags, feature| flags | feature.flag())
    }

    /// The table as wasmtime takes it.
    ///
    /// # Errors
    /// [`Error::OperatorCosts`] unless every operator of this wasmtime is there, once, and nothing else.
    pub(crate) fn operator_cost(&self) -> Result<OperatorCost, Error> {
        let mut costs = BTreeMap::new();
        let mut wrong = Vec::new();
        for group in &self.operator_cost {
            for operator in &group.operators {
                if costs.insert(operator.as_str(), group.fuel).is_some() {
                    wrong.push(operator.clone());
                }
            }
        }
        let mut table = serde_json::to_value(OperatorCost::new()).expect("a struct of numbers is JSON");
        let fields = table.as_object_mut().expect("a struct is an object");
        for (operator, cost) in fields.iter_mut().filter(|(name, _)| *name != "variable") {
            match costs.remove(operator.as_str()) {
                Some(fuel) => *cost = fuel.into(),
                None => wrong.push(operator.clone()),
            }
        }
        wrong.extend(costs.into_keys().map(str::to_owned));
        if !wrong.is_empty() {
            return Err(Error::OperatorCosts { profile: self.name.clone(), operators: wrong.join(", ") });
        }
        let mut table: OperatorCost = serde_json::from_value(table).expect("every field is there and is a u8");
        table.variable = self.variable_cost.clone();
        Ok(table)
    }
}

impl Feature {
    fn flag(self) -> WasmFeatures {
        match self {
            Self::BulkMemory => WasmFeatures::BULK_MEMORY,
            Self::ExtendedConst => WasmFeatures::EXTENDED_CONST,
            Self::FloatToInt => WasmFeatures::SATURATING_FLOAT_TO_INT,
            Self::MultiMemory => WasmFeatures::MULTI_MEMORY,
            Self::MultiValue => WasmFeatures::MULTI_VALUE,
            Self::MutableGlobals => WasmFeatures::MUTABLE_GLOBAL,
            Self::ReferenceTypes => WasmFeatures::REFERENCE_TYPES,
            Self::SignExtension => WasmFeatures::SIGN_EXTENSION,
            Self::Simd => WasmFeatures::SIMD,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_profiles_are_whole_and_bear_their_names() {
        for (name, _) in KNOWN {
            let profile = RuntimeProfile::named(name).unwrap();
            assert_eq!(profile.name, name);
            profile.operator_cost().unwrap();
            assert_eq!(
                serde_json::from_str::<RuntimeProfile>(&serde_json::to_string(&profile).unwrap()).unwrap(),
                profile
            );
        }
        assert_eq!(RuntimeProfile::named("0"), None);
        assert_eq!(RuntimeProfile::newest().wasmtime, WASMTIME_MAJOR);
    }

    /// By what cargo resolved for the whole workspace.
    #[test]
    fn the_wasmtime_that_is_built_in_is_the_one_that_is_named() {
        let lock: toml::Table = toml::from_str(include_str!("../../../Cargo.lock")).unwrap();
        let packages = lock["package"].as_array().unwrap();
        let versions = packages.iter().filter(|package| package["name"].as_str() == Some("wasmtime"));
        let versions: Vec<_> = versions.map(|package| package["version"].as_str().unwrap()).collect();
        assert!(matches!(versions[..], [only] if only.starts_with("48.")), "{versions:?}");
    }

    #[track_caller]
    fn check_refused(change: impl FnOnce(&mut RuntimeProfile), expected: &str) {
        let mut profile = RuntimeProfile::newest();
        change(&mut profile);
        let found = profile.operator_cost().unwrap_err().to_string();
        assert!(found.ends_with(&format!(": {expected}")), "{found}");
    }

    #[test]
    fn a_cost_table_with_gaps_is_refused() {
        check_refused(|profile| profile.operator_cost[0].operators.retain(|name| name != "Nop"), "Nop");
        check_refused(|profile| profile.operator_cost[1].operators.push("Nop".to_owned()), "Nop");
        check_refused(|profile| profile.operator_cost[1].operators.push("F8Add".to_owned()), "F8Add");
    }

    #[test]
    fn costs_are_the_tables_own() {
        let mut profile = RuntimeProfile::newest();
        profile.operator_cost[0].fuel = 3;
        profile.variable_cost.memory_grow_per_page = 7;
        let table = profile.operator_cost().unwrap();
        assert_eq!((table.Nop, table.I32Add, table.variable.memory_grow_per_page), (3, 1, 7));
    }
}
