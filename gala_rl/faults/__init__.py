"""Fault injection: a plan lists faults and their times, and real faults are then caused."""
