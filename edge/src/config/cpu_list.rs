//! `--cores`: how many, or which.

use std::str::FromStr;

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CoresChoice {
    /// The first so many that the process may use.
    Count(usize),
    /// These, ascending, none twice.
    List(Vec<usize>),
}

/// Highest processor number that a list may name (the kernel's set has 1,024).
const CPU_MAX: usize = 1023;

impl FromStr for CoresChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<CoresChoice, String> {
        if let Ok(count) = text.parse::<usize>() {
            return if count == 0 { Err("at least one core is needed".into()) } else { Ok(CoresChoice::Count(count)) };
        }
        let mut list = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            match (first.parse::<usize>(), last.parse::<usize>()) {
                (Ok(first), Ok(last)) if first <= last && last <= CPU_MAX => list.extend(first..=last),
                _ => return Err("must be a number of cores, or a list such as 0-3,6".into()),
            }
        }
        list.sort_unstable();
        list.dedup();
        Ok(CoresChoice::List(list))
    }
}

impl CoresChoice {
    /// The processors to run on, out of those that the process may use; all of them where nothing was asked for.
    pub(crate) fn choose(choice: Option<&CoresChoice>, allowed: &[usize]) -> Result<Vec<usize>, String> {
        match choice {
            None => Ok(allowed.to_vec()),
            Some(CoresChoice::Count(count)) if *count <= allowed.len() => Ok(allowed[..*count].to_vec()),
            Some(CoresChoice::Count(count)) => {
                Err(format!("{count} cores are asked for, and the process may use {}", allowed.len()))
            }
            Some(CoresChoice::List(list)) => match list.iter().find(|cpu| !allowed.contains(cpu)) {
                Some(cpu) => Err(format!("the process may not use core {cpu}")),
                None => Ok(list.clone()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_counts_and_ranges_are_lists() {
        assert_eq!("3".parse(), Ok(CoresChoice::Count(3)));
        assert_eq!("0-3,6".parse(), Ok(CoresChoice::List(vec![0, 1, 2, 3, 6])));
        assert_eq!("5,1-2,2".parse(), Ok(CoresChoice::List(vec![1, 2, 5])));
        for wrong in ["0", "", "a", "3-1", "0-", "1,", "0-5000"] {
            assert!(wrong.parse::<CoresChoice>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_allowed_ones_are_chosen() {
        let allowed = [2, 3, 7];
        assert_eq!(CoresChoice::choose(None, &allowed), Ok(vec![2, 3, 7]));
        assert_eq!(CoresChoice::choose(Some(&CoresChoice::Count(2)), &allowed), Ok(vec![2, 3]));
        assert!(CoresChoice::choose(Some(&CoresChoice::Count(4)), &allowed).is_err());
        assert_eq!(CoresChoice::choose(Some(&CoresChoice::List(vec![7])), &allowed), Ok(vec![7]));
        assert!(CoresChoice::choose(Some(&CoresChoice::List(vec![2, 4])), &allowed).is_err());
    }
}
