//! What is said about repeated measurements: median, least, most, and the ratio of two medians.

/// Repeated measurements of one thing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
    pub(crate) count: usize,
    /// Where the median of many more such measurements would lie, 19 times of 20 (by ranks, whatever their distribution); least
    /// and most where there are too few to say.
    pub(crate) interval: [f64; 2],
}

impl Summary {
    /// `None` without any measurement.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted: Vec<f64> = values
            .iter()
            .copied()
            .filter(|value| value.is_finite())
            .collect();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Some(Self {
            median,
            least,
            most,
            count: sorted.len(),
            interval: {
                let count = sorted.len() as f64;
                let rank = (count / 2.0 - 0.98 * count.sqrt()).max(0.0) as usize;
                [sorted[rank], sorted[sorted.len() - 1 - rank]]
            },
        })
    }

    /// This median for one of the other's.
    pub(crate) fn ratio_to(&self, other: &Self) -> Option<f64> {
        (other.median > 0.0).then(|| self.median / other.median)
    }
}

/// A number for people: three significant figures, thousands with commas.
pub(crate) fn figure(value: f64) -> String {
    let size = value.abs();
    if size >= 999.5 {
        return thousands(value.round());
    }
    let decimals = match size {
        _ if size == 0.0 => 0,
        _ if size >= 99.95 => 0,
        _ if size >= 9.995 => 1,
        _ if size >= 0.999_5 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 {
        format!("-{text}")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_that_of_the_sign_test() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        // 100 tosses of a coin give 40 to 60 heads 19 times of 20.
        assert_eq!(Summary::of(&values).unwrap().interval, [41.0, 60.0]);
        assert_eq!(Summary::of(&[3.0, 1.0, 2.0]).unwrap().interval, [1.0, 3.0]);
    }

    #[test]
    fn median_and_spread() {
        assert_eq!(Summary::of(&[]), None);
        assert_eq!(
            Summary::of(&[f64::NAN, f64::INFINITY]),
            None,
            "no number is no measurement"
        );
        let odd = Summary::of(&[5.0, 1.0, 3.0]).unwrap();
        assert_eq!(
            odd,
            Summary {
                median: 3.0,
                least: 1.0,
                most: 5.0,
                count: 3,
                interval: [1.0, 5.0],
            }
        );
        let even = Summary::of(&[4.0, 1.0, 2.0, 9.0]).unwrap();
        assert_eq!((even.median, even.least, even.most), (3.0, 1.0, 9.0));
    }

    #[test]
    fn ratios_are_of_medians() {
        let ours = Summary::of(&[10.0, 30.0, 20.0]).unwrap();
        let theirs = Summary::of(&[5.0]).unwrap();
        assert_eq!(ours.ratio_to(&theirs), Some(4.0));
        assert_eq!(ours.ratio_to(&Summary::of(&[0.0]).unwrap()), None);
    }

    #[test]
    fn figures_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.123_4, "0.123"),
            (1.234, "1.23"),
            (12.34, "12.3"),
            (99.96, "100"),
            (999.6, "1,000"),
            (1_234_567.8, "1,234,568"),
            (-1_234.0, "-1,234"),
        ] {
            assert_eq!(figure(value), text);
        }
    }
}
