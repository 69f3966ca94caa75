# How a room of the house is declared: its sources, the rooms and libraries it may use, its unit
# tests, its fuzzers and its micro-benchmarks. A room is a link target, and its include path is only
# what its dependencies give it, so that an include against the order of the rooms does not build.

find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(Boost 1.81 REQUIRED)

# What every target of ours is compiled with. Dependencies are SYSTEM includes and stay silent.
add_library(postern_options INTERFACE)
target_compile_options(postern_options INTERFACE
    -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wold-style-cast -Wcast-qual
    -Wformat=2 -Wimplicit-fallthrough -Woverloaded-virtual -Wextra-semi
    $<$<CXX_COMPILER_ID:GNU>:-Wduplicated-cond -Wlogical-op -Wuseless-cast>
    $<$<CXX_COMPILER_ID:Clang>:-Wthread-safety>
    $<$<BOOL:${POSTERN_WARNINGS_AS_ERRORS}>:-Werror>)
if(POSTERN_LINKER)
    target_link_options(postern_options INTERFACE -fuse-ld=${POSTERN_LINKER})
endif()
if(POSTERN_SANITIZERS)
    list(JOIN POSTERN_SANITIZERS "," postern_sanitizers)
    target_compile_options(postern_options INTERFACE
        -fsanitize=${postern_sanitizers} -fno-omit-frame-pointer -fno-sanitize-recover=all)
    target_link_options(postern_options INTERFACE -fsanitize=${postern_sanitizers})
    if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang" AND "undefined" IN_LIST POSTERN_SANITIZERS)
        # clang 14 cannot emit the function check for coroutines.
        target_compile_options(postern_options INTERFACE -fno-sanitize=function)
    endif()
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND "thread" IN_LIST POSTERN_SANITIZERS)
        target_compile_options(postern_options INTERFACE -Wno-tsan)
    endif()
endif()
if(POSTERN_COVERAGE)
    target_compile_options(postern_options INTERFACE --coverage)
    target_link_options(postern_options INTERFACE --coverage)
endif()
if(POSTERN_FUZZERS)
    # Rooms are instrumented for coverage; only the fuzzers themselves get libFuzzer's main.
    target_compile_options(postern_options INTERFACE -fsanitize=fuzzer-no-link)
endif()

# The header-only doctest and one main for all unit tests.
if(POSTERN_TESTS)
    add_library(postern_test_main STATIC ${CMAKE_SOURCE_DIR}/tests/unit/main.cpp)
    target_include_directories(postern_test_main PUBLIC ${CMAKE_SOURCE_DIR}/tests/unit)
    target_link_libraries(postern_test_main PUBLIC postern_options)
endif()

# postern_room(NAME
#     [SOURCES …]      .cpp files of the room, relative to its folder
#     [DEPENDS …]      rooms it may include, by name
#     [LIBRARIES …]    libraries its headers need
#     [PRIVATE_LIBRARIES …]  libraries only its sources need
#     [TESTS …]        doctest files under tests/unit/NAME, one ctest test for the room
#     [FUZZERS …]      names of tests/fuzz/NAME_fuzz.cpp
#     [BENCHES …])     names of bench/NAME_bench.cpp (Google Benchmark)
function(postern_room name)
    cmake_parse_arguments(room "" ""
        "SOURCES;DEPENDS;LIBRARIES;PRIVATE_LIBRARIES;TESTS;FUZZERS;BENCHES" ${ARGN})
    set(include ${CMAKE_BINARY_DIR}/include/${name})
    file(MAKE_DIRECTORY ${include})
    if(NOT EXISTS ${include}/${name})
        file(CREATE_LINK ${CMAKE_CURRENT_SOURCE_DIR} ${include}/${name} SYMBOLIC)
    endif()
    set(target postern_${name})
    if(room_SOURCES)
        add_library(${target} STATIC ${room_SOURCES})
        set(scope PUBLIC)
        target_link_libraries(${target} PRIVATE ${room_PRIVATE_LIBRARIES})
    else()
        add_library(${target} INTERFACE)
        set(scope INTERFACE)
    endif()
    target_include_directories(${target} ${scope} ${include})
    list(TRANSFORM room_DEPENDS PREPEND postern_)
    target_link_libraries(${target} ${scope} postern_options ${room_DEPENDS} ${room_LIBRARIES})

    if(POSTERN_TESTS AND room_TESTS)
        list(TRANSFORM room_TESTS PREPEND ${CMAKE_SOURCE_DIR}/tests/unit/${name}/)
        add_executable(${name}_test ${room_TESTS})
        target_link_libraries(${name}_test PRIVATE ${target} postern_test_main ${room_PRIVATE_LIBRARIES})
        add_test(NAME unit.${name} COMMAND ${name}_test)
        set_tests_properties(unit.${name} PROPERTIES LABELS unit TIMEOUT 120)
    endif()
    if(POSTERN_FUZZERS)
        foreach(fuzzer IN LISTS room_FUZZERS)
            add_executable(${fuzzer}_fuzz ${CMAKE_SOURCE_DIR}/tests/fuzz/${fuzzer}_fuzz.cpp)
            target_link_libraries(${fuzzer}_fuzz PRIVATE ${target})
            target_link_options(${fuzzer}_fuzz PRIVATE -fsanitize=fuzzer)
            set_property(GLOBAL APPEND PROPERTY postern_fuzzers ${fuzzer})
        endforeach()
    endif()
    if(POSTERN_BENCHMARKS AND room_BENCHES)
        find_package(benchmark REQUIRED)
        foreach(bench IN LISTS room_BENCHES)
            add_executable(${bench}_bench EXCLUDE_FROM_ALL ${CMAKE_SOURCE_DIR}/bench/${bench}_bench.cpp)
            target_link_libraries(${bench}_bench PRIVATE ${target} benchmark::benchmark_main)
        endforeach()
    endif()
endfunction()
