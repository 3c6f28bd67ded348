#!/usr/bin/env python3
"""Tests the gallery's page in a real browser: Chromium without a window, controlled through its driver.

    page_test.py PROGRAM MAKE_RUN [SCREENS]

PROGRAM is filterscope, MAKE_RUN the program that makes the folder of a run with all 4224 filters. Keeps screenshots in the
folder SCREENS if it is given. Exits with 77 if Chromium, its driver or Python's selenium is missing.
"""

import sys
import unittest

import page_commands_test
import page_comparison_test
import page_run_test

if __name__ == "__main__":
    load = unittest.defaultTestLoader.loadTestsFromModule
    tests = unittest.TestSuite(load(module) for module in (page_run_test, page_comparison_test, page_commands_test))
    sys.exit(not unittest.TextTestRunner(verbosity=2).run(tests).wasSuccessful())
