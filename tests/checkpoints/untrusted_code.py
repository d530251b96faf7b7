"""Pickled values that run code when they are unpickled. Each creates the file SENTINEL."""
# ruff: noqa: E501  (one line for each way)

import marshal
import pickle

from tests.checkpoints.file_builder import (
    FALSE,
    NONE,
    STOP,
    build,
    call,
    computed_name,
    create,
    dict_of,
    keep,
    kept,
    list_of,
    name,
    number,
    numbers,
    raw,
    text,
    tuple_of,
)


def code_in_pickles(sentinel: str) -> dict[str, bytes]:
    """Name of the way -> the value."""
    shell = text(f"touch {sentinel}")
    source = text(f"open({sentinel!r}, 'w')")
    words = list_of(text("touch"), text(sentinel))
    os_module = call(name("builtins:__import__"), text("os"))
    system = call(name("builtins:getattr"), os_module, text("system"))
    compiled = call(name("builtins:compile"), source, text("x"), text("exec"))
    whole = call(name("os:system"), shell) + STOP
    line = f"touch {sentinel}".encode()
    found = {
        "os_system": call(name("os:system"), shell),
        "posix_system": call(name("posix:system"), shell),
        "os_popen": call(name("os:popen"), shell),
        "os_execvp": call(name("os:spawnvp"), number(0), text("touch"), words),
        "subprocess_popen": call(name("subprocess:Popen"), words),
        "subprocess_check_output": call(name("subprocess:check_output"), words),
        "pty_spawn": call(name("pty:spawn"), words),
        "eval": call(name("builtins:eval"), source),
        "exec": call(name("builtins:exec"), source),
        "python2_eval": call(name("__builtin__:eval"), source),
        "python2_execfile": call(name("__builtin__:execfile"), text(sentinel)),
        "open": call(name("builtins:open"), text(sentinel), text("w")),
        "io_open": call(name("_io:open"), text(sentinel), text("w")),
        "pathlib_touch": call(name("pathlib:Path.touch"), call(name("pathlib:Path"), text(sentinel))),
        "getattr_chain": call(system, shell),
        "import_and_getattr": call(
            call(
                name("builtins:getattr"),
                call(name("importlib:import_module"), text("os")),
                text("system"),
            ),
            shell,
        ),
        "map": call(name("builtins:list"), call(name("builtins:map"), name("os:system"), list_of(shell))),
        "compile_and_exec": call(name("builtins:exec"), compiled),
        "partial": call(call(name("functools:partial"), name("os:system"), shell)),
        "reduce": call(name("functools:reduce"), name("os:system"), list_of(shell), shell),
        "attrgetter": call(call(call(name("operator:attrgetter"), text("system")), os_module), shell),
        "methodcaller": call(call(name("operator:methodcaller"), text("system"), shell), os_module),
        "run_code": call(name("runpy:_run_code"), compiled, dict_of({})),
        "run_path": call(name("runpy:run_path"), text(f"{sentinel}.py")),
        "timeit": call(name("timeit:timeit"), source, text("pass"), name("time:perf_counter"), number(1)),
        "profile_run": call(name("cProfile:run"), source),
        "pdb_run": call(name("bdb:Bdb.run"), call(name("bdb:Bdb")), source),
        "code_object": call(
            call(
                name("types:FunctionType"),
                call(name("marshal:loads"), raw(marshal.dumps(compile("1", "x", "eval")))),
                dict_of({}),
            )
        ),
        "code_type": call(name("types:CodeType"), number(0)),
        "ctypes_crash": call(name("ctypes:string_at"), number(1)),
        "pickle_loads": call(name("pickle:loads"), raw(whole)),
        "c_pickle_loads": call(name("_pickle:loads"), raw(whole)),
        "yaml_unsafe": call(
            name("yaml:unsafe_load"), text(f"!!python/object/apply:os.system ['touch {sentinel}']")
        ),
        "numpy_runstring": call(name("numpy.testing._private.utils:runstring"), source, dict_of({})),
        "numpy_load": call(name("numpy:load"), text(f"{sentinel}.npy"), NONE, pickle.NEWTRUE),
        "numpy_exec_command": call(name("numpy.distutils.exec_command:exec_command"), shell),
        "torch_load": call(name("torch:load"), text(f"{sentinel}.pth")),
        "torch_serialization": call(name("torch.serialization:load"), text(f"{sentinel}.pth")),
        "torch_jit_load": call(name("torch.jit:load"), text(f"{sentinel}.pt")),
        "torch_hub_load": call(
            name("torch.hub:load"), text(f"{sentinel}.d"), text("x"), text("local"), NONE
        ),
        "torch_collect_env": call(name("torch.utils.collect_env:run"), shell),
        "torch_cpp_extension": call(name("torch.utils.cpp_extension:load_inline"), text("x"), source),
        "torch_graph_module": call(
            name("torch.fx.graph_module:reduce_graph_module"),
            dict_of({"_code": text(f"def forward(self): pass\nopen({sentinel!r}, 'w')")}),
            text(""),
        ),
        "torch_rebuild_from_type": call(
            name("torch._tensor:_rebuild_from_type_v2"), name("os:system"), NONE, tuple_of(shell), NONE
        ),
        "torch_wrapper_subclass": call(
            name("torch._utils:_rebuild_wrapper_subclass"), name("os:system"), *[NONE] * 7
        ),
        "torch_sparse": call(name("torch._utils:_rebuild_sparse_tensor"), NONE, tuple_of()),
        "torch_quantized": call(name("torch._utils:_rebuild_qtensor"), *[NONE] * 7),
        "torch_nested": call(name("torch._utils:_rebuild_nested_tensor"), *[NONE] * 4),
        "torch_meta": call(
            name("torch._utils:_rebuild_meta_tensor_no_storage"),
            name("torch:float32"),
            numbers(10**12),
            numbers(1),
            FALSE,
        ),
        "torch_shared_memory": call(
            name("torch.multiprocessing.reductions:rebuild_storage_filename"), raw(b"/x"), raw(b"/y")
        ),
        "mmengine_config": call(name("mmengine.config.config:Config.fromstring"), source, text(".py")),
        "mmengine_lazy": call(
            name("mmengine.config.lazy:LazyObject"), text("os"), NONE, text("system")
        ),
        "copyreg": call(name("copyreg:_reconstructor"), name("subprocess:Popen"), name("x:y"), words),
        "newobj_function": call(name("copyreg:__newobj__"), name("subprocess:Popen"), words),
        "newobj": create(name("subprocess:Popen"), words),
        "newobj_ex": name("subprocess:Popen") + tuple_of(words) + dict_of({}) + pickle.NEWOBJ_EX,
        "inst": pickle.MARK + shell + pickle.INST + b"os\nsystem\n",
        "obj": pickle.MARK + name("os:system") + shell + pickle.OBJ,
        "ext1": pickle.EXT1 + b"\x01",
        "ext4": pickle.EXT4 + b"\x01\x00\x00\x00",
        "python1_string_line": b"cos\nsystem\n(S'" + line + b"'\ntR",
        "stack_global": call(computed_name(text("os"), text("system")), shell),
        "stack_global_from_memo": call(
            text("os") + keep(7) + pickle.POP + text("system") + keep(8) + pickle.POP
            + computed_name(kept(7), kept(8)),
            shell,
        ),
        "stack_global_newline": call(computed_name(text("os\nfine\x1b[2J"), text("system")), shell),
        "stack_global_of_numbers": call(computed_name(number(1), number(2)), shell),
        "stack_global_long": call(computed_name(text("o" * 1_000_000), text("system")), shell),
        "dotted_globals": pickle.PROTO + b"\x04" + computed_name(
            text("torch._utils"), text("_rebuild_tensor_v2.__globals__")
        ),
        "dotted_reader": pickle.PROTO + b"\x04" + call(
            computed_name(text("mmmim.checkpoints"), text("io.os.system")), shell
        ),
        "reader_trust": call(name("mmmim.checkpoints:trust"), list_of(text("os.system")))
        + pickle.POP + call(name("os:system"), shell),
        "torch_lazy_module": name("torch:_inductor"),
        "setstate": build(create(name("logging:Handler")), dict_of({"level": number(1)})),
    }  # fmt: skip
    history = name("mmengine.logging.history_buffer:HistoryBuffer")
    method = call(name("builtins:getattr"), history, text("mean"))
    allowed = {
        "getattr_globals": call(name("builtins:getattr"), method, text("__globals__")),
        "getattr_init": call(name("builtins:getattr"), history, text("__init__")),
        "getattr_called": call(method, shell),
        "build_on_function": build(method, dict_of({"__code__": NONE})),
        "build_on_class": build(history, dict_of({"mean": shell})),
        "build_slots": build(create(history), tuple_of(NONE, dict_of({"__class__": shell}))),
        "build_no_dict": build(create(history), list_of(shell)),
        "build_on_dtype": build(call(name("numpy:dtype"), text("f4")), shell),
        "build_on_list": build(list_of(), dict_of({"append": shell})),
        "call_of_class": call(history, number(1 << 40)),
        "call_of_number": call(number(7), shell),
        "call_of_storage_type": call(name("torch:FloatStorage"), number(1 << 40)),
        "newobj_of_ndarray": create(name("numpy:ndarray"), numbers(1 << 40)),
        "newobj_with_arguments": create(history, number(1 << 40)),
        "newobj_of_function": create(name("torch._utils:_rebuild_tensor_v2")),
        "encode_other": call(name("_codecs:encode"), shell, text("rot13")),
        "setitem_on_list": list_of(shell) + number(0) + shell + pickle.SETITEM,
        "setitem_on_class": history + pickle.MARK + text("mean") + shell + pickle.SETITEMS,
        "append_on_dict": dict_of({}) + shell + pickle.APPEND,
        "append_on_class": history + pickle.MARK + shell + pickle.APPENDS,
        "odd_arguments": name("collections:OrderedDict") + number(3) + pickle.REDUCE,
        "persistent_text": shell + pickle.BINPERSID,
        "persistent_line": pickle.PERSID + line + b"\n",
        "persistent_dict": dict_of({"storage": shell}) + pickle.BINPERSID,
        "persistent_function": tuple_of(method, method, text("0"), NONE, number(4)) + pickle.BINPERSID,
        "memo_missing": kept(12345),
        "stack_empty": pickle.POP * 50 + pickle.REDUCE,
        "mark_missing": pickle.POP * 50 + pickle.TUPLE,
    }
    return found | {f"allowed_{key}": value for key, value in allowed.items()}
