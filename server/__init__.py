"""The gate: prices every query, seals every answer, keeps the ledger."""
