//! The rate of a run over time: pieces of straight lines.
//!
//! ```text
//! rate ▲        ┌────────   stage 2: constant
//!      │      ╱ │
//!      │    ╱   │           stage 1: ramp
//!      │  ╱     │
//!      └──┴─────┴────────▶ time
//! ```
//!
//! Arrivals are placed by their number: the n-th one falls due when the area under the line reaches n. The
//! area of a stage is a quadratic, so that the time follows exactly, without stepping through the stage.

/// A piece of the profile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Stage {
    /// Requests a second at its beginning.
    pub(crate) from: f64,
    /// Requests a second at its end.
    pub(crate) to: f64,
    /// Nanoseconds.
    pub(crate) length: u64,
}

impl Stage {
    /// The arrivals in it.
    fn area(&self) -> f64 {
        (self.from + self.to) / 2.0 * self.length as f64 / 1e9
    }

    /// Nanoseconds from its beginning until the area is `area`.
    fn time_of(&self, area: f64) -> f64 {
        let slope = (self.to - self.from) / (self.length as f64 / 1e9);
        // from·t + slope·t²/2 = area, solved so that nothing cancels when the slope is small or negative.
        let root = (self.from * self.from + 2.0 * slope * area).max(0.0).sqrt();
        let divisor = self.from + root;
        if divisor <= 0.0 { 0.0 } else { 2.0 * area / divisor * 1e9 }
    }
}

/// The stages, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Profile(Vec<Stage>);

impl Profile {
    /// A profile of these stages; stages without a length have no effect.
    pub(crate) fn new(stages: &[Stage]) -> Self {
        Profile(stages.iter().copied().filter(|stage| stage.length > 0).collect())
    }

    /// The same with `length` nanoseconds at its first rate put in front.
    pub(crate) fn after_warmup(&self, length: u64) -> Self {
        let rate = self.0.first().map_or(0.0, |stage| stage.from.max(f64::MIN_POSITIVE));
        let first = Stage { from: rate, to: rate, length };
        Profile::new(&[std::slice::from_ref(&first), self.0.as_slice()].concat())
    }

    /// Nanoseconds from start to end.
    pub(crate) fn length(&self) -> u64 {
        self.0.iter().map(|stage| stage.length).sum()
    }
}

/// Walks a profile forward: the stage in question is found once, not each time.
#[derive(Clone, Debug)]
pub(crate) struct Walk {
    profile: Profile,
    stage: usize,
    /// Area and time of the stages before.
    area: f64,
    time: u64,
}

impl Walk {
    /// At the beginning.
    pub(crate) fn new(profile: Profile) -> Self {
        Walk { profile, stage: 0, area: 0.0, time: 0 }
    }

    /// When the area reaches `area`, in nanoseconds; `None` if it never does. Areas may not fall from call
    /// to call.
    pub(crate) fn time_of(&mut self, area: f64) -> Option<u64> {
        while let Some(stage) = self.profile.0.get(self.stage) {
            let inside = area - self.area;
            if inside < stage.area() {
                return Some(self.time + stage.time_of(inside.max(0.0)) as u64);
            }
            self.area += stage.area();
            self.time += stage.length;
            self.stage += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn area(profile: &Profile) -> f64 {
        profile.0.iter().map(Stage::area).sum()
    }

    #[test]
    fn a_ramp_places_arrivals_by_the_area_under_it() {
        let ramp = Profile::new(&[Stage { from: 0.0, to: 100.0, length: 10 * SECOND }]);
        assert_eq!(area(&ramp), 500.0);
        let mut walk = Walk::new(ramp);
        // Area t²·5: the 5th arrival is at one second, the 125th at five.
        for (area, seconds) in [(0.0, 0.0), (5.0, 1.0), (125.0, 5.0), (499.999, 10.0)] {
            let at = walk.time_of(area).unwrap() as f64 / 1e9;
            assert!((at - seconds).abs() < 1e-4, "{area}: {at}");
        }
        assert_eq!(walk.time_of(500.0), None);
    }

    #[test]
    fn stages_follow_one_another_and_falling_ones_end_at_nothing() {
        let stages = [
            Stage { from: 100.0, to: 100.0, length: SECOND },
            Stage { from: 100.0, to: 0.0, length: 2 * SECOND },
            Stage { from: 50.0, to: 50.0, length: 0 },
        ];
        let profile = Profile::new(&stages);
        assert_eq!((profile.length(), area(&profile)), (3 * SECOND, 200.0));
        let mut walk = Walk::new(profile.clone());
        assert_eq!(walk.time_of(50.0), Some(SECOND / 2));
        assert_eq!(walk.time_of(100.0), Some(SECOND));
        // In the second stage: 100·t - 25·t² = 75 at t = 1.
        assert_eq!(walk.time_of(175.0), Some(2 * SECOND));
        assert_eq!(walk.time_of(200.0), None);
        let warmed = profile.after_warmup(SECOND);
        assert_eq!((warmed.length(), area(&warmed)), (4 * SECOND, 300.0));
    }
}
