//! A fake PostgreSQL: the ledger's statements over tables, transactions and locks.
