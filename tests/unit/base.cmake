pager_unit_test(base pager_base)
