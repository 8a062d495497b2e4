"""Tests of gala_lab.study."""
