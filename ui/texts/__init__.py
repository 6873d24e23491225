"""The texts of the interface: tables of pairs (English, Russian)."""
