/* pagerctl as a function: runs one command line, returns the exit status. */
#pragma once

int ctl_main(int argc, char **argv);
