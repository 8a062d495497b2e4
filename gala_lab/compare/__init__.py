"""Comparing methods: equal budgets, several seeds, intervals instead of single numbers."""
