//! The account: units by sale, and which reservations are settled.

use std::collections::BTreeSet;

use flux_protocol::order::Uuid;

use super::super::rows::Sale;
use super::super::values::{Params, boolean, row, state};
use super::{Plan, Scope, done};

/// Sums of a sale's quantities, as the subqueries of `units.sql` and `audit_sales.sql` have them.
pub(super) struct Sums<'a, 's>(pub(super) &'a Scope<'s>, pub(super) &'a Sale);

impl Sums<'_, '_> {
    fn stored(&self) -> i64 {
        let rows = self.0.database.orders.scan(self.0.owner);
        rows.filter(|row| self.is_of(&row.product_id, row.sale_id)).map(|row| i64::from(row.quantity)).sum()
    }

    fn no_room(&self) -> i64 {
        let rows = self.0.database.rejected.scan(self.0.owner).filter(|row| row.reason == "no_room");
        rows.filter(|row| self.is_of(&row.product_id, row.sale_id)).map(|row| i64::from(row.quantity)).sum()
    }

    pub(super) fn dead(&self) -> i64 {
        let rows = self.0.database.dead_letters.scan(self.0.owner);
        let rows = rows
            .filter(|row| row.product_id.as_deref() == Some(&self.1.product_id) && row.sale_id == Some(self.1.sale_id));
        rows.filter_map(|row| row.quantity).map(i64::from).sum()
    }

    pub(super) fn returns(&self, state: &str) -> i64 {
        let rows = self.0.database.returns.scan(self.0.owner).filter(|row| row.state == state);
        rows.filter(|row| self.is_of(&row.product_id, row.sale_id)).map(|row| i64::from(row.quantity)).sum()
    }

    fn is_of(&self, product: &str, sale: i64) -> bool {
        self.1.product_id == product && self.1.sale_id == sale
    }
}

pub(super) fn units(scope: &mut Scope<'_>, _: &Params) -> Plan {
    let products: Vec<_> = scope.database.products.scan(scope.owner).cloned().collect();
    for product in products {
        let Some(sale) = scope.database.sales.get(scope.owner, &(product.id, product.sale_id)).cloned() else {
            continue;
        };
        let sums = Sums(scope, &sale);
        let (rejected, dead, pending) = (sums.no_room(), sums.dead(), sums.returns("pending"));
        let withdrawn = sale.withdrawn + sums.returns("withdrawn");
        let state = state(sale.is_closed);
        scope.answer(row![
            sale.product_id,
            sale.sale_id,
            sale.generation,
            state,
            sale.total,
            sale.sold,
            withdrawn,
            rejected,
            dead,
            pending,
            boolean(sale.rate.is_some()),
        ]);
    }
    done()
}

pub(super) fn sales(scope: &mut Scope<'_>, params: &Params) -> Plan {
    let product = params.text(1)?;
    let rows = scope.database.sales.scan(scope.owner);
    let rows: Vec<Sale> = rows.filter(|row| product.is_empty() || row.product_id == product).cloned().collect();
    for sale in rows {
        let sums = Sums(scope, &sale);
        let (stored, rejected, dead) = (sums.stored(), sums.no_room(), sums.dead());
        let withdrawn = sums.returns("withdrawn");
        let (state, is_announced) = (state(sale.is_closed), sale.rate.is_some());
        scope.answer(row![
            sale.product_id,
            sale.sale_id,
            sale.generation,
            state,
            sale.total,
            sale.sold,
            sale.withdrawn,
            stored,
            rejected,
            dead,
            withdrawn,
            boolean(is_announced),
        ]);
    }
    done()
}

pub(super) fn settled(scope: &mut Scope<'_>, params: &Params) -> Plan {
    let reservations: BTreeSet<&Uuid> = params.uuids(1)?.iter().collect();
    let orders = params.uuids(2)?;
    let asked: BTreeSet<&Uuid> = orders.iter().collect();
    let mut found = Vec::new();
    // A join: an order named twice is found twice.
    let stored = orders.iter().filter_map(|id| scope.database.orders.get(scope.owner, id));
    found.extend(stored.map(|row| row.reservation_id).filter(|id| reservations.contains(id)));
    let rejected = scope.database.rejected.scan(scope.owner).filter(|row| asked.contains(&row.order_id));
    found.extend(rejected.map(|row| row.reservation_id).filter(|id| reservations.contains(id)));
    let returned = scope.database.returns.scan(scope.owner).map(|row| row.reservation_id);
    found.extend(returned.filter(|id| reservations.contains(id)));
    for reservation in scope.shuffled(found) {
        scope.answer(row![reservation]);
    }
    done()
}

/// `SELECT DISTINCT product_id FROM sales`.
pub(super) fn products(scope: &mut Scope<'_>, _: &Params) -> Plan {
    let products: BTreeSet<String> = scope.database.sales.scan(scope.owner).map(|row| row.product_id.clone()).collect();
    for product in scope.shuffled(products.into_iter().collect()) {
        scope.answer(row![product]);
    }
    done()
}
