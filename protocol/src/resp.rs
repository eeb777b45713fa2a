//! resp: see the plan.
