//! Time and randomness as arguments, so that a whole cluster runs in one deterministic simulation. The real ones are
//! here too: nothing else may ask the operating system.

/// Wall-clock time.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since 1970. May jump in either direction: whoever needs order takes an [`crate::Scn`].
    fn now_ms(&self) -> u64;
}

/// A source of random bytes.
pub trait Random: Send + Sync + 'static {
    /// Fills `bytes` whole.
    fn fill(&self, bytes: &mut [u8]);

    /// Sixteen random bytes, the size of every random id.
    fn id(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        bytes
    }
}

/// The operating system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place where wall-clock time enters")]
    fn now_ms(&self) -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// The operating system's randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    #[expect(clippy::disallowed_methods, reason = "this is the one place where randomness enters")]
    fn fill(&self, bytes: &mut [u8]) {
        rand::Rng::fill_bytes(&mut rand::rng(), bytes);
    }
}
