//! The logistic model by hand, from the lines that `benchmarks/parameters.py` writes.

use std::collections::HashMap;
use std::error::Error;

const DRIVERS: usize = 3;

pub struct Model {
    pub name: String,
    pub sha256: String,
    pub threshold: f64,
    pub terms: Vec<String>,
    /// Columns without which nothing is scored.
    pub needed: Vec<usize>,
    policies: Vec<String>,
    medians: Vec<f64>,
    factor: usize,
    others: Vec<usize>,
    center: Vec<f64>,
    scale: Vec<f64>,
    low: f64,
    high: f64,
    weights: Vec<f64>,
    term_of: Vec<usize>,
    pushes: Vec<f64>,
    intercept: f64,
    slope: f64,
    offset: f64,
    inputs: Vec<f64>,
    /// Of the last answer: each term's push on the score, and P(error).
    pub contributions: Vec<f64>,
    pub probability: f32,
}

impl Model {
    pub fn read(lines: &str) -> Result<Self, Box<dyn Error>> {
        let lines: HashMap<&str, Vec<&str>> = lines
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .map(|(name, rest)| (name, rest.split('\t').collect()))
            .collect();
        let words = |name: &str| lines.get(name).ok_or(format!("the parameters lack {name}"));
        let numbers = |name: &str| -> Result<Vec<f64>, Box<dyn Error>> {
            Ok(words(name)?.iter().map(|word| word.parse()).collect::<Result<_, _>>()?)
        };
        let indices = |name: &str| -> Result<Vec<usize>, Box<dyn Error>> {
            Ok(words(name)?.iter().map(|word| word.parse()).collect::<Result<_, _>>()?)
        };
        let owned =
            |name: &str| -> Result<Vec<String>, String> { Ok(words(name)?.iter().map(|&word| word.into()).collect()) };
        let terms = owned("terms")?;
        Ok(Model {
            name: owned("name")?.remove(0),
            sha256: owned("sha256")?.remove(0),
            threshold: numbers("threshold")?[0],
            needed: indices("needed")?,
            policies: owned("policies")?,
            medians: numbers("medians")?,
            factor: indices("factor")?[0],
            others: indices("others")?,
            center: numbers("center")?,
            scale: numbers("scale")?,
            low: numbers("low")?[0],
            high: numbers("high")?[0],
            weights: numbers("weights")?,
            term_of: indices("term_of")?,
            pushes: numbers("pushes")?,
            intercept: numbers("intercept")?[0],
            slope: numbers("slope")?[0],
            offset: numbers("offset")?[0],
            inputs: Vec::new(),
            contributions: vec![0.0; terms.len()],
            probability: f32::NAN,
            terms,
        })
    }

    /// Fill gaps, products, standardise, cut, weigh, calibrate.
    pub fn score(&mut self, values: &[f32], policy: &str) {
        let known = self.policies.iter().position(|name| name == policy);
        let own = (0..self.policies.len()).map(|column| known.map_or(f64::NAN, |known| f64::from(column == known)));
        let given = values.iter().map(|value| f64::from(*value)).chain(own);
        self.inputs.clear();
        self.inputs
            .extend(given.zip(&self.medians).map(|(value, median)| if value.is_nan() { *median } else { value }));
        for other in &self.others {
            self.inputs.push(self.inputs[self.factor] * self.inputs[*other]);
        }
        self.contributions.fill(0.0);
        let mut score = self.intercept;
        for column in 0..self.weights.len() {
            let standard = (self.inputs[column] - self.center[column]) / self.scale[column];
            let cut = standard.clamp(self.low, self.high);
            self.contributions[self.term_of[column]] += cut * self.pushes[column];
            score += cut * self.weights[column];
        }
        self.probability = (1.0 / (1.0 + (-(self.slope * score + self.offset)).exp())) as f32;
    }

    /// The terms that pushed most, the strongest first.
    pub fn strongest(&self) -> [usize; DRIVERS] {
        let mut places = [usize::MAX; DRIVERS];
        for place in 0..DRIVERS {
            let free = (0..self.terms.len()).filter(|term| !places[..place].contains(term));
            let size = |term: &usize| self.contributions[*term].abs();
            places[place] = free.max_by(|one, two| size(one).total_cmp(&size(two))).unwrap_or(0);
        }
        places
    }
}
