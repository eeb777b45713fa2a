//! The worker's statements, worded as the worker words them.

use flux_protocol::order::Uuid;
use flux_protocol::postgres::{CopyRows, Param};

use crate::client::Asked;

pub(crate) const TOPIC: Uuid = Uuid([7; 16]);
pub(crate) const MIGRATIONS: [&str; 7] = [
    include_str!("../../../../worker/sql/0001_ledger.sql"),
    include_str!("../../../../worker/sql/0002_sale_options.sql"),
    include_str!("../../../../worker/sql/0003_sale_queue.sql"),
    include_str!("../../../../worker/sql/0004_rebuilds.sql"),
    include_str!("../../../../worker/sql/0005_leader_epochs.sql"),
    include_str!("../../../../worker/sql/0006_unfounded_returns.sql"),
    include_str!("../../../../worker/sql/0007_late.sql"),
];

macro_rules! file {
    ($name:literal, $params:expr) => {
        $crate::client::Asked {
            name: $name,
            sql: include_str!(concat!("../../../../worker/sql/statements/", $name, ".sql")),
            params: $params,
            copy: None,
        }
    };
}
pub(crate) use file;

pub(crate) fn literal(sql: &'static str) -> Asked {
    literal_with(sql, sql, vec![])
}

pub(crate) fn literal_with(name: &'static str, sql: &'static str, params: Vec<Param>) -> Asked {
    Asked { name, sql, params, copy: None }
}

pub(crate) fn begin() -> Asked {
    literal("BEGIN ISOLATION LEVEL READ COMMITTED")
}

pub(crate) fn commit() -> Asked {
    literal("COMMIT")
}

pub(crate) fn rollback() -> Asked {
    literal("ROLLBACK")
}

pub(crate) fn id(number: u8) -> Uuid {
    Uuid([number; 16])
}

/// An order's row for a COPY.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) order: u8,
    pub(crate) reservation: u8,
    pub(crate) product: String,
    pub(crate) user: String,
    pub(crate) quantity: i32,
    pub(crate) sale: i64,
    pub(crate) created_ms: i64,
}

impl Row {
    pub(crate) fn new(order: u8) -> Row {
        Row {
            order,
            reservation: order,
            product: "a".into(),
            user: "user".into(),
            quantity: 1,
            sale: 1,
            created_ms: 1_000,
        }
    }
}

pub(crate) fn copy(rows: &[Row]) -> Asked {
    let mut copy = CopyRows::new();
    for row in rows {
        copy.row(10, |fields| {
            fields.uuid(id(row.order));
            fields.bytes(row.product.as_bytes());
            fields.bytes(row.user.as_bytes());
            fields.i32(row.quantity);
            fields.i64(row.sale);
            fields.i32(1);
            fields.uuid(id(row.reservation));
            fields.i32(0);
            fields.i64(i64::from(row.order));
            fields.timestamp_ms(row.created_ms);
        });
    }
    copy.finish();
    Asked { copy: Some(copy), ..file!("copy_orders", vec![]) }
}

pub(crate) fn claim(partition: i32) -> Asked {
    file!("claim", vec![Param::Uuid(TOPIC), Param::I32(partition)])
}

pub(crate) fn fence(partition: i32, from: i64, to: i64) -> Asked {
    // Any epoch; -1: it is not known.
    let leader_epoch = Param::I32((to % 4) as i32 - 1);
    file!("fence", vec![Param::Uuid(TOPIC), Param::I32(partition), Param::I64(from), Param::I64(to), leader_epoch])
}

pub(crate) fn read_offset(partition: i32) -> Asked {
    file!("read_offset", vec![Param::Uuid(TOPIC), Param::I32(partition)])
}

/// Product, sale, total, units.
pub(crate) type Taken = (&'static str, i64, i64, i64);

pub(crate) fn take(sales: &[Taken]) -> Asked {
    let mut params = open_params(sales);
    params.push(Param::I64s(sales.iter().map(|sale| sale.3).collect()));
    file!("take", params)
}

/// No topic: zeros are NULL.
pub(crate) const NO_TOPIC: Uuid = Uuid([0; 16]);

/// How far the log of a topic was counted, in so many partitions.
pub(crate) fn counted(topic: Uuid, ends: &[i64]) -> [Param; 2] {
    [Param::Uuid(topic), Param::I64s(ends.to_vec())]
}

pub(crate) fn open_sales(sales: &[Taken]) -> Asked {
    file!("open_sales", open_params(sales))
}

fn open_params(sales: &[Taken]) -> Vec<Param> {
    let mut params = keys(sales);
    params.push(Param::I64s(sales.iter().map(|sale| sale.2).collect()));
    params
}

fn keys(sales: &[Taken]) -> Vec<Param> {
    vec![
        Param::Texts(sales.iter().map(|sale| sale.0.to_owned()).collect()),
        Param::I64s(sales.iter().map(|sale| sale.1).collect()),
    ]
}

pub(crate) fn lock_sales(sales: &[Taken]) -> Asked {
    let mut params = keys(sales);
    params.extend([Param::Uuid(TOPIC), Param::I32(1)]);
    file!("lock_sales", params)
}

pub(crate) fn show_stock(sales: &[Taken]) -> Asked {
    file!("show_stock", keys(sales))
}

/// Returns of these reservations, each of the order of its number.
pub(crate) fn note_returns(reservations: &[u8], quantity: i32) -> Asked {
    let count = reservations.len();
    file!(
        "note_returns",
        vec![
            Param::Uuids(reservations.iter().map(|number| id(*number)).collect()),
            Param::Uuids(reservations.iter().map(|number| id(*number)).collect()),
            Param::Texts(vec!["a".to_owned(); count]),
            Param::I64s(vec![1; count]),
            Param::I32s(vec![1; count]),
            Param::I32s(vec![quantity; count]),
            Param::Texts(vec!["user".to_owned(); count]),
        ]
    )
}

/// Orders of sale 1 of product a that found no room, each by the reservation of its number.
pub(crate) fn note_rejected(orders: &[u8]) -> Asked {
    let count = orders.len();
    let ids = || Param::Uuids(orders.iter().map(|number| id(*number)).collect());
    let texts = |text: &str| Param::Texts(vec![text.to_owned(); count]);
    let (ones, numbers) = (|| Param::I32s(vec![1; count]), |number: i64| Param::I64s(vec![number; count]));
    let of_sale = [texts("no_room"), texts("a"), texts("user"), ones(), numbers(1), ones()];
    let of_log = [numbers(0), Param::I32(0), numbers(1_000)];
    file!("note_rejected", [ids(), ids()].into_iter().chain(of_sale).chain(of_log).collect())
}

pub(crate) fn mark_returned(reservations: &[u8], state: &str) -> Asked {
    let ids = reservations.iter().map(|number| id(*number)).collect();
    file!("mark_returned", vec![Param::Uuids(ids), Param::Text(state.to_owned())])
}

/// The next page of what a rebuild has declared.
pub(crate) fn fetch() -> Asked {
    literal_with("fetch", "FETCH 5000 FROM rebuilding", vec![])
}

pub(crate) fn rebuild_account(product: &str, sale: i64) -> Asked {
    file!("rebuild_account", vec![Param::Text(product.to_owned()), Param::I64(sale)])
}
