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

macro_rules! bundled {
    ($constant:ident, $name:literal, $about:literal) => {
        #[doc = $about]
        pub const $constant: Bundled =
            Bundled { name: $name, component: include_bytes!(concat!("../../prebuilt/", $name, ".wasm")) };
    };
}

bundled!(
    BOUNDED_COUNTER,
    "bounded-counter",
    "A counter that never goes below zero (plugins/standard/bounded-counter)."
);
bundled!(
    CALENDAR_BOOKING,
    "calendar-booking",
    "The first booking of a slot wins, the others are told (plugins/standard/calendar-booking)."
);
bundled!(MAX_REGISTER, "max-register", "Keeps the largest number that was ever set (plugins/standard/max-register).");
bundled!(MULTI_VALUE, "multi-value", "Answers with every value that was written (plugins/standard/multi-value).");
bundled!(
    ORDERED_LIST,
    "ordered-list",
    "A list that merges what is inserted and removed (plugins/standard/ordered-list)."
);
bundled!(STOCK, "stock", "Subtracts every concurrent sale from a stock count (plugins/standard/stock).");

/// All of them, by name.
pub const ALL: [Bundled; 6] = [BOUNDED_COUNTER, CALENDAR_BOOKING, MAX_REGISTER, MULTI_VALUE, ORDERED_LIST, STOCK];
