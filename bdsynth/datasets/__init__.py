"""Datasets over prepared data: no parsing of downloads here."""
