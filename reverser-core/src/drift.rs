//! How Git can differ from a cluster.

use std::fmt;

use crate::{ObjectRef, Operation};

/// How Git differs from the cluster in one object.
///
/// ```
/// use reverser_core::{Drift, Operation};
///
/// assert_eq!(Drift::Missing.to_string(), "missing");
/// assert_eq!(Drift::Missing.operation(), Operation::Create);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Drift {
    /// The file says something else than the object.
    Different,
    /// There is a file, and no object.
    Extra,
    /// There is an object, and no file.
    Missing,
    /// The file is of a version that isn't captured: the object's file is that of another version.
    Superseded,
}

impl Drift {
    /// In the order in which they are told.
    ///
    /// ```
    /// let names = reverser_core::Drift::ALL.map(|drift| drift.to_string());
    /// assert_eq!(names, ["missing", "extra", "different", "superseded"]);
    /// ```
    pub const ALL: [Self; 4] = [Self::Missing, Self::Extra, Self::Different, Self::Superseded];

    /// Returns its name, in lower case.
    ///
    /// ```
    /// assert_eq!(reverser_core::Drift::Different.name(), "different");
    /// ```
    pub fn name(self) -> &'static str {
        match self {
            Self::Different => "different",
            Self::Extra => "extra",
            Self::Missing => "missing",
            Self::Superseded => "superseded",
        }
    }

    /// Returns the operation that leaves this when it isn't recorded.
    ///
    /// ```
    /// use reverser_core::{Drift, Operation};
    ///
    /// assert_eq!(Drift::Extra.operation(), Operation::Delete);
    /// ```
    pub fn operation(self) -> Operation {
        match self {
            Self::Different => Operation::Update,
            Self::Extra | Self::Superseded => Operation::Delete,
            Self::Missing => Operation::Create,
        }
    }
}

/// Its name.
impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An object in which Git differed from the cluster.
///
/// ```
/// use reverser_core::{Drift, Drifted, ObjectRef, Resource};
///
/// let nodes = Resource::new("", "v1", "Node", "nodes").cluster_scoped().into();
/// let node = ObjectRef { resource: nodes, namespace: None, name: "n-1".into(), uid: None };
/// let drifted = Drifted { drift: Drift::Missing, object: node, is_left_out: true };
/// assert_eq!(drifted.to_string(), "left out (missing) v1/nodes/n-1");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drifted {
    /// How.
    pub drift: Drift,
    /// The object.
    pub object: ObjectRef,
    /// Whether it may differ since the changes of some users aren't recorded.
    pub is_left_out: bool,
}

/// `different apps/v1/deployments/shop/web`.
impl fmt::Display for Drifted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { drift, object, is_left_out } = self;
        let namespace = object.namespace.iter().map(|namespace| format!("{namespace}/")).collect::<String>();
        let drift = if *is_left_out { format!("left out ({drift})") } else { drift.to_string() };
        write!(f, "{drift} {}/{namespace}{}", object.resource, object.name)
    }
}
