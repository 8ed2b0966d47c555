//! The plugins that come with Skerry, as components, so that nothing has to be installed or built to use them.
//! `cargo xtask prebuilt` makes them from plugins/standard.

/// A plugin that comes with Skerry.
#[derive(Debug, Clone, Copy)]
pub struct Bundled {
    /// The name that it is deployed under.
    pub name: &'static str,
    /// The component.
    pub component: &'static [u8],
}

/// Subtracts every concurrent sale from a stock count (plugins/standard/stock).
pub const STOCK: Bundled = Bundled { name: "stock", component: include_bytes!("../../prebuilt/stock.wasm") };

/// Keeps the largest number that was ever set (plugins/standard/max-register).
pub const MAX_REGISTER: Bundled =
    Bundled { name: "max-register", component: include_bytes!("../../prebuilt/max-register.wasm") };

/// All of them.
pub const ALL: [Bundled; 2] = [MAX_REGISTER, STOCK];
